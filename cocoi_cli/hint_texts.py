"""Hints that do not depend on the case: code of an error, a finding or a failure, to the next step.

They belong to `cocoi_cli.hints`, which is what others ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# What does not depend on the case. First the fleet file and what belongs to it on this machine.
PLAIN: Final[Mapping[str, str]] = {
    "not-in-profile": "`cocoi profile` measures the devices of the fleet, or only those that are named",
    "nothing-computed": "install an agent, `cocoi deploy`, and measure again, or `cocoi profile --full`",
    "link-not-measured": "`cocoi profile` measures it again, once the device can be reached",
    "invalid-profile": "`cocoi doctor` looks for the cause, power or heat; then `cocoi profile` again",
    "no-measurements": "`cocoi profile --agents` measures the fleet; until then `cocoi infer --scheme coded`",
    "bad-objective": "`cocoi plan MODEL --objective mean`, or a quantile: `--objective p95`",
    "malformed-plan": "correct that line, or write the plan anew: `cocoi plan MODEL -o plan.toml`",
    "bad-plan": "correct that line, or write the plan anew: `cocoi plan MODEL -o plan.toml`",
    "unknown-plan-field": (
        "the comments in the file name every field; `cocoi plan MODEL -o plan.toml` writes a fresh one"
    ),
    "bad-plan-value": (
        "correct that line; `cocoi model info` lists the layers, and `cocoi plan MODEL --why` what else would do"
    ),
    "plan-other-model": "plan for this model: `cocoi plan MODEL -o plan.toml`",
    "plan-other-fleet": "plan for this fleet: `cocoi plan MODEL --fleet F -o plan.toml`",
    "stale-plan": "plan again: `cocoi plan MODEL -o plan.toml`",
    "no-profile": "`cocoi profile` measures the fleet; `cocoi plan MODEL --devices 10` assumes one",
    "profile-other-fleet": "`cocoi profile` measures this fleet; or leave `--profile` out",
    "nothing-measured": (
        "`cocoi profile` measures the devices; those without an agent compute with `cocoi profile --full`"
    ),
    "grouped-filters": "set `filters = 1` for this layer in the plan, or choose `--scheme coded`",
    "illegal-segment": (
        "choose another input or output for the segment; `cocoi plan MODEL -o plan.toml` names possible ones"
    ),
    "unknown-segment": "`cocoi plan MODEL -o plan.toml` writes a plan for the model as it is",
    "overlapping-segments": (
        "take one of the two segments out of the plan, or shorten it; `cocoi plan` makes a fresh one"
    ),
    "layer-in-segment": (
        "take the layer out of the segment, or give it the scheme `fused`; `cocoi plan` makes a fresh one"
    ),
    "kernels-lost": "type the command again; signal 9 usually means that memory ran out: close other programs",
    "program-failed": "type the command again; `--scheme local` computes without agents; if it stays, please report it",
    "bad-straggling": "`cocoi simulate --help` lists the forms, as in `--straggling exp:0.5+dead:1`",
    "bad-trace": 'one positive number a line, or JSON `{"factors": [...]}`; then `cocoi simulate` again',
    "plot-format": "name a figure `.png` or `.svg`: `cocoi simulate MODEL --plot latency.svg`",
    "unknown-row": "`cocoi bench --help` lists the schemes",
    "nothing-to-measure": "`cocoi bench --help` lists the other schemes; dask is a package of its own, `distributed`",
    "unknown-scenario": "`cocoi bench --help` lists the scenarios; `--scenario-file` adds your own",
    "bad-scenario-file": "docs/benchmark.md shows the form; then `cocoi bench --scenario-file F.toml` again",
    "scenario-too-large": "start more agents, `cocoi bench --embedded 6`, or leave the scenario out",
    "unknown-fault-device": "name devices as the faults script's `names` prints them, or give a number of devices",
    "no-faults": "name a script that can, `cocoi bench --faults SCRIPT`, or leave the scenario out",
    "faults-failed": "call the script by hand with the same words; docs/benchmark.md says what each must do",
    "agents-stay-away": "`cocoi doctor` looks for the cause; then `cocoi bench --resume` goes on",
    "dask-failed": "check the scheduler's address, or leave `dask` out of `cocoi bench --schemes`",
    "unfinished-results": "`cocoi bench --resume` goes on with it; or name another file with `-o`",
    "bad-results": "name another file with `-o`, or leave `cocoi bench --resume` out",
    "no-fleet": "begin one: `cocoi fleet add pi@192.168.1.11`; `--fleet` names another file",
    "bad-fleet-file": "correct that line, then `cocoi fleet list` reads the file again",
    "device-exists": "choose another name: `cocoi fleet add TARGET --name NAME`",
    "no-devices": "add one: `cocoi fleet add pi@192.168.1.11`",
    "unknown-device": "`cocoi fleet list` names the devices",
    "bad-target": "name it as for ssh: `cocoi fleet add pi@192.168.1.11`",
    "bad-name": "`cocoi fleet add TARGET --name shelf-1`",
    "bad-address": "name one address of the device: `cocoi fleet add TARGET --address 192.168.1.11`",
    "data-folder": "make the folder yours and free some space; `COCOI_DATA` names another",
    "bad-import": "`cocoi fleet import --help` lists what can be imported; single devices: `cocoi fleet add TARGET`",
    "unknown-group": "leave `--group` out to import all: `cocoi fleet import FILE`",
    "no-keys": "the keys are made by `cocoi deploy`; run it here, or export where it was run",
    "rotating": "finish it first: `cocoi rotate`",
    "bad-bundle": "write it again on the first host, `cocoi fleet export OUT`, and copy it whole",
    "other-fleet": "put it beside: `cocoi fleet import FILE --fleet OTHER.toml`",
    "no-interface": "name one of those listed: `cocoi fleet discover --interface NAME`",
    "mdns-port": "stop the program that holds the port, or add devices by address: `cocoi fleet add TARGET`",
    "no-multicast": (
        "name an interface that reaches the devices, `cocoi fleet discover --interface "
        "NAME`, or `cocoi fleet add TARGET`"
    ),
    "nothing-found": (
        "other networks and some Wi-Fi let no announcements through: `cocoi fleet add "
        "TARGET` by address, or `--interface`"
    ),
    "moved": "`cocoi fleet discover --yes` changes it in the fleet file",
    "agent-stays": "take the agent off first: `cocoi uninstall DEVICE`",
    "copied-card": "give a copied card an identity of its own: write it anew with Raspberry Pi Imager",
    "confirmation-needed": "`--yes` agrees beforehand",
    "open-keys": "close it to others with `chmod 600`; if somebody may have read it: `cocoi rotate`",
    "bad-keys": "put back the pair from a copy, or take it over from the first host: `cocoi fleet import BUNDLE`",
    "keys-missing": "on the host that deployed: `cocoi fleet export BUNDLE`; here: `cocoi fleet import BUNDLE`",
    "no-certificates": "take the line `security` out of the fleet file, then `cocoi deploy`",
    "not-deployed": "install the agents, `cocoi deploy`, or use this machine: `cocoi infer PICTURE --embedded 6`",
    "still-busy": "wait longer: `cocoi drain DEVICE --wait 600`",
    "bad-profile": "measure anew: `cocoi profile`",
    # Wheels.
    "bad-runtime": "leave `--runtime` out: `cocoi deploy` installs the tested version",
    "missing-wheels": "with a network, once: `cocoi deploy --fetch-only`; the wheels are kept for later",
    "cache-unusable": "free some space, or name another folder in `COCOI_CACHE`",
    # Getting in.
    "ssh-unreachable": (
        "check power and network, then `cocoi fleet list` for the address; the other devices were not held up"
    ),
    "ssh-refused": "try what ssh itself says: `ssh -v`; a key, or `--password-file FILE`, lets cocoi in",
    "ssh-dropped": "run the command again: what was finished stays, and nothing is half done",
    "ssh-config": "correct that file; what `ssh -G` prints is what cocoi follows",
    "host-key-unknown": "compare the fingerprint with the device's own, then `--accept-new`, or run it on a terminal",
    "host-key-changed": (
        "a card that was written anew has a new key: `ssh-keygen -R HOST`, then `cocoi "
        "fleet remove` and `cocoi fleet add`; "
        "if nobody did that, beware"
    ),
    "host-key-revoked": (
        "do not use this device until it has new host keys: `sudo ssh-keygen -A` on it, after removing the old"
    ),
    "known-hosts-not-writable": "make the file writable, or add the key yourself with `ssh`",
    "wrong-device": (
        "a card that was written anew: `cocoi fleet remove` it, then `cocoi fleet add`; "
        "else another device has this address now, and `cocoi fleet discover` looks for the right one"
    ),
    "password-needed": "run it on a terminal, or name a file: `--password-file FILE`",
    "password-file": "put the password, and nothing else, into the first line of the file",
    "sudo-refused": "add the user to the group `sudo` there, or install without root: `cocoi deploy --user`",
    "no-python": "`sudo apt install python3` on the device",
    # Work on a device.
    "device": "`cocoi doctor` looks for what is wrong with a device",
    "command-failed": "`cocoi doctor` looks for what is wrong with the device",
    "command-timeout": "it may be overloaded or its card worn out: `cocoi doctor`, then the command again",
    "preflight": "`cocoi doctor` shows each finding with its remedy",
    "other-install": "take the other one off first: `cocoi uninstall DEVICE`",
    "not-installed": "`cocoi deploy` installs it",
    "no-previous": "there is something to go back to only after a second `cocoi deploy`",
    "not-serving": "`cocoi logs` shows why, `cocoi restart` tries again",
    "agent-wrong-answer": "take it out of use, `cocoi drain DEVICE`, and let `cocoi doctor` look at it",
    "agent-mismatch": "`cocoi deploy` brings the right version there",
    # Findings of preflight and doctor.
    "32-bit-userland": "write the card anew with the 64-bit image of Raspberry Pi OS",
    "unsupported-architecture": "agents run on 64-bit ARM and x86 only: `cocoi fleet remove` takes it out",
    "old-libc": "a newer system is needed: Raspberry Pi OS Bookworm or Trixie, 64-bit",
    "old-python": "a newer system is needed: Raspberry Pi OS Bookworm (Python 3.11) or Trixie (3.13), 64-bit",
    "no-venv": "`sudo apt install python3-venv` on the device",
    "no-ssl": "install the system's own Python: `sudo apt install python3`",
    "read-only-disk": "the card may be worn out, or an overlay protects it: see raspi-config, performance options",
    "little-disk": "free some space there: `sudo apt clean`, and look with `du -xh / | sort -h | tail`",
    "little-memory": "stop other services there, or leave the device out: `cocoi drain`",
    "no-systemd": "agents need systemd, which runs Raspberry Pi OS; a container without it will not do",
    "old-systemd": "a newer system is needed: Raspberry Pi OS Bookworm or Trixie, 64-bit",
    "linger-off": "`sudo loginctl enable-linger` for that user keeps the agent running after logout",
    "other-machine": (
        "this is another device: take the old entry out, `cocoi fleet remove DEVICE`, then `cocoi fleet add`"
    ),
    "same-identity": "give a copied card an identity of its own: write it anew with Raspberry Pi Imager",
    "address-absent": "put the device's own address into the fleet file; `cocoi fleet discover` finds it",
    "wrong-clock": "connect it to a time server: `sudo timedatectl set-ntp true`; certificates do not depend on it",
    "no-time-service": "`sudo timedatectl set-ntp true` on the device",
    "under-voltage": "use the official 5.1 V supply and a short cable; until then it computes slowly",
    "under-voltage-before": "use the official 5.1 V supply and a short cable",
    "throttled": "cool it: a heat sink, a fan, air between the boards",
    "throttled-before": "cool it: a heat sink, a fan, air between the boards",
    "wifi-power-save": (
        "`cocoi doctor --fix` switches it off now; `nmcli connection modify NAME wifi.powersave 2` makes it last"
    ),
    "slow-governor": "`cocoi doctor --fix` offers the governor `performance` until the next start; it costs heat",
    "memory-cgroup-off": (
        "nothing has to be done; `cgroup_enable=memory` in cmdline.txt lets systemd bound services too"
    ),
    "journal-volatile": "`sudo mkdir /var/log/journal` keeps it over restarts",
    "test-left": "`cocoi doctor --fix` removes it",
    "no-agent": "`cocoi deploy` installs it",
    "bad-installed-runtime": "`cocoi deploy` brings the tested version",
    "other-version": "`cocoi deploy` brings this host's version",
    "agent-down": "`cocoi doctor --fix` starts it, `cocoi logs` shows why it stopped",
    "agent-restarts": "`cocoi logs` shows why",
    "port-blocked": (
        "a firewall is in between: let the agent's port through, or choose another `port` in the fleet file"
    ),
    "agent-deaf": "`cocoi doctor --fix` restarts it; if the fleet file has a new address, `cocoi deploy`",
}

# Why a wheel could not be fetched.
UNFETCHED: Final[Mapping[str, str]] = {
    "no-network": "connect this machine to the internet, or name a mirror to pip, then `cocoi deploy --fetch-only`",
    "no-wheel": "64-bit Raspberry Pi OS Bookworm and Trixie have wheels; without `--runtime`: `cocoi deploy`",
    "disk-full": "free some space, or name another folder in COCOI_CACHE, then `cocoi deploy`",
    "hash": "a mirror or proxy serves another file: name another index to pip, then `cocoi deploy --fetch-only`",
    "no-pip": "install pip for the Python that runs cocoi, then `cocoi deploy`",
}

# Failures that a script on a device told of, `device-failed`.
FAILURES: Final[Mapping[str, str]] = {
    "busy": "another deploy is at work there; wait, then run the command again",
    "disk-full": "free some space there: `sudo apt clean`; nothing was half installed",
    "read-only": "the card may be worn out, or an overlay protects it: see raspi-config, performance options",
    "disk": "the card may be worn out: `cocoi doctor`, and look at `dmesg` there",
    "damaged": "take its install off, `cocoi uninstall DEVICE`, then `cocoi deploy DEVICE`",
    "bad-wheel": "the connection or the card garbles data: run `cocoi deploy` again",
    "missing-wheel": "run `cocoi deploy` again: it sends what is missing",
    "pip-failed": (
        "with the last lines of pip above: free space, then `cocoi deploy` again; `--online` needs a network there"
    ),
    "self-test-failed": (
        "this ONNX Runtime does not run there; what ran before still runs. Another "
        "one: `cocoi deploy --runtime VERSION`"
    ),
    "start-failed": "`cocoi logs` shows why",
    "stop-failed": "`cocoi logs` shows why; then run the command again",
    "linger-refused": "`sudo loginctl enable-linger` for that user on the device, then `cocoi deploy --user` again",
    "no-user-manager": (
        "`sudo apt install libpam-systemd dbus-user-session` on the device, or install with root: `cocoi deploy`"
    ),
    "not-ours": "move what is there away: cocoi does not overwrite what it has not made",
    "systemd": "`systemctl status` on the device says more; then run the command again",
    "systemd-timeout": "the device may be overloaded: `cocoi doctor`, then run the command again",
    "no-runtime": "`cocoi profile --full` brings what it needs for a while; `cocoi deploy` for good",
}
