"""Drives the emulated devices: real systemd and real sshd in containers, on a network of their own.

The scripts of COCOI_LAB do the work; this module calls them with a prefix and addresses
of its own, so that a fleet which a developer has running is never touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fleet_lab.host import Host
from tests.fleet_lab.listing import Listing, look
from tests.fleet_lab.waiting import until

PREFIX = "cocoit"
NET = "10.78.0"

FLEET = (1, 2, 3)
"""Devices of the fleet that most tests use."""

SPARE = 4
"""The device that tests may spoil."""

DEVICES = (*FLEET, SPARE)
PORT = 52600

TOOLS = ("systemd-nspawn", "nsenter", "ip", "tc", "unshare", "sysctl", "gcc", "ssh", "ssh-keygen", "bc", "bash")
PASSWORD = "raspberry"  # noqa: S105 - of `pi` on every emulated device
SUDO_RULE = ("pi ALL=(ALL) NOPASSWD: ALL", "/etc/sudoers.d/010_pi-nopasswd")
# As `fleet.py exec m`: with the host's place on the network comes its share of the processor.
# Whoever runs tests in the background has them ignore Ctrl-C, and passes that on.
JOIN = (
    f'echo $$ >/sys/fs/cgroup/cpu/{PREFIX}/m/cgroup.procs; exec env --default-signal=INT ip netns exec {PREFIX}-m "$@"'
)
INSIDE = ("sh", "-c", JOIN, "host")
GROUPS = ("cpu", "freezer", "memory", "cpuset")


def folder() -> Path:
    """Where the lab's scripts are: COCOI_LAB, else beside the development data."""
    shared = os.environ.get("COCOI_SHARED") or Path(__file__).resolve().parents[3] / "shared"
    return Path(os.environ.get("COCOI_LAB") or Path(shared, "lab"))


def why_not() -> str | None:
    """Why there can be no lab on this machine; None where there can."""
    scripts = [folder() / name for name in ("pi_nspawn.sh", "fleet.py")]
    absent = [name for name in TOOLS if shutil.which(name) is None]
    groups = [name for name in GROUPS if not Path("/sys/fs/cgroup", name).is_dir()]
    if sys.platform != "linux":
        return "emulated devices are Linux containers; this is not Linux"
    if os.geteuid() != 0:
        return "emulated devices need root"
    if not all(script.is_file() for script in scripts):
        return f"no lab: {folder()} has no pi_nspawn.sh and fleet.py (COCOI_LAB names the folder)"
    if absent:
        return f"commands are missing: {', '.join(absent)}"
    if groups:
        return f"the kernel offers no cgroup v1 controllers here: {', '.join(groups)}"
    return None


def _enter(network: int) -> None:
    """Move this thread to another network; sockets stay where they were made."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.setns(network, 0) == 0, os.strerror(ctypes.get_errno())


class Lab:
    """A few emulated devices and the machine of somebody who operates them.

    Devices have numbers from 1; the host is on the same network and has no way out of it,
    so whatever works in here works without the internet.
    """

    def __init__(self, work: Path, cache: Path) -> None:
        self._scripts = folder()
        self._work = work
        self._cache = cache
        self._bin = Path(os.environ.get("COCOI_LAB_BIN") or "/var/tmp/cocoi-lab")  # noqa: S108 - the scripts' default
        self._env = {
            **os.environ,
            "COCOI_LAB_PREFIX": PREFIX,
            "COCOI_LAB_NET": NET,
            "COCOI_LAB_BIN": str(self._bin),
        }

    # The whole

    def up(self) -> str:
        """Start every device at this machine's full speed and wait until ssh answers; returns what the script says.

        No delay line and no quota keeper: tests of operations do not measure kernels.
        """
        options = ["--nodes", str(len(DEVICES)), "--cpu", "0", "--rate", "940mbit", "--tick", "0"]
        told = self._nspawn("up", *options).splitlines()[0]
        for device in DEVICES:
            self._settle(device)
        return told

    def fetch_wheels(self) -> str:
        """Fill the cache of wheels with the product's own means, from where there is a way to the internet.

        What deploys afterwards has none: the host of the emulated network reaches its devices and nobody else.
        """
        facts = 'import platform as p, sys; print(*sys.version_info[:2], p.machine(), *p.libc_ver()[1].split("."))'
        *python, arch, major, minor = self.root(1, f"python3 -c '{facts}'").split()
        code = (
            "import asyncio; from cocoi_cli.fleet.targets import Target; from cocoi_cli.fleet.wheelhouse import fetch; "
            f"house = asyncio.run(fetch(Target(({', '.join(python)}), {arch!r}, ({major}, {minor})))); "
            "print(f'wheels for {house.target}: {len(house.wheels)} of {house.size / 1e6:.1f} MB together')"
        )
        self._env["COCOI_CACHE"] = str(self._cache)
        done = self._run([sys.executable, "-c", code])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def down(self) -> None:
        """End everything that `up` began; safe to repeat, and after half an `up`."""
        self._nspawn("down", check=False)

    def host(self, name: str) -> Host:
        """Somebody at the host with a home of their own, whose ssh knows the devices' key."""
        home = self._work / name
        configuration = home / ".ssh" / "config"
        if not configuration.exists():
            (home / ".ssh").mkdir(mode=0o700, parents=True)
            configuration.write_text(f"Host {NET}.*\n  User pi\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n")
        return Host(home, self._cache, INSIDE)

    # One device

    @property
    def key(self) -> Path:
        """The private key that every device lets in, as `pi` and as `root`."""
        return self._bin / "id_ed25519"

    @staticmethod
    def address(device: int) -> str:
        """Its address on the emulated network."""
        return f"{NET}.{10 + device}"

    def target(self, device: int) -> str:
        """What `cocoi fleet add` is given for it."""
        return f"pi@{self.address(device)}"

    def root(self, device: int, command: str, *, check: bool = True) -> str:
        """Run a command on it as root, behind the back of the product and of sshd; returns its output, stripped."""
        done = self._run(["nsenter", "-t", self._first_process(device), "-a", "--", "bash", "-c", command])
        if check and done.returncode:
            message = f"device {device}: `{command}` ended with {done.returncode}: {done.stderr}{done.stdout}"
            raise AssertionError(message)
        return done.stdout.strip()

    def login(self, device: int, command: str) -> str | None:
        """Run a command on it as `pi` over SSH; its output, or None where that does not work."""
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=5"]
        words = [word for option in options for word in ("-o", option)]
        done = self.on_host(["ssh", "-q", "-i", str(self.key), *words, f"pi@{self.address(device)}", command])
        return done.stdout.strip() if done.returncode == 0 else None

    def answers_ssh(self, device: int) -> bool:
        """Whether a login works."""
        return self.login(device, "echo yes") == "yes"

    def cut_power(self, device: int) -> None:
        """End every process of it at once; its disk stays as it is, and nothing is flushed for it."""
        self._fleet("kill", str(device))

    def restart(self, device: int) -> None:
        """Power cycle; returns when ssh answers."""
        self._nspawn("restart", str(device))

    def fresh(self, device: int) -> None:
        """Power cycle with a new disk: new machine id, new host keys."""
        self._nspawn("fresh", str(device))
        self._settle(device)

    def cut(self, device: int) -> None:
        """Unplug its network cable."""
        self._fleet("cut", str(device))

    def heal(self, device: int) -> None:
        """Plug the cable in again, and wait until packets get through."""
        self._fleet("heal", str(device))
        until(lambda: self.answers_ssh(device), f"ssh of device {device} after its cable is back")

    def freeze(self, device: int) -> None:
        """Stop every process of it: connections are made by the kernel, and then nobody says a word."""
        self._fleet("freeze", str(device))

    def thaw(self, device: int) -> None:
        """Let it go on."""
        self._fleet("thaw", str(device))

    def forbid_sudo(self, device: int) -> None:
        """From now on `sudo` asks `pi` for the password."""
        self.root(device, f"rm -f {SUDO_RULE[1]}; sudo -k -u pi true")

    def allow_sudo(self, device: int) -> None:
        """`sudo` asks `pi` for nothing, as in the beginning."""
        rule, place = SUDO_RULE
        self.root(device, f"rm -f {place}; echo '{rule}' >{place}; chmod 440 {place}")

    def disk(self, device: int) -> Path:
        """The root of its disk as this machine sees it."""
        return self._bin / "nspawn" / PREFIX / f"n{device}" / "root"

    def listing(self, device: int) -> Listing:
        """Everything on its disk but logs and what it changes by itself."""
        self.root(device, "sync")
        return look(self.disk(device))

    def agent(self, device: int, *properties: str, user: bool = False) -> dict[str, str]:
        """Properties of the agent's unit as systemd has them."""
        wanted = ",".join(properties or ("ActiveState", "SubState", "MainPID", "NRestarts"))
        scope = "--user --machine=pi@" if user else ""
        text = self.root(device, f"systemctl {scope} show cocoi-agent -p {wanted}", check=False)
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def listens(self, device: int, port: int = PORT) -> list[str]:
        """Addresses at which something listens on this port."""
        rows = self.root(device, "ss -Hltn", check=False).splitlines()
        places = [row.split()[3] for row in rows]
        return sorted(place.rsplit(":", 1)[0] for place in places if place.endswith(f":{port}"))

    def listens_at(self, device: int, address: str, port: int = PORT) -> bool:
        """Whether somebody accepts connections there, asked without ssh: the device may have moved."""
        rows = self._run(["ip", "netns", "exec", f"{PREFIX}-n{device}", "ss", "-Hltn"], check=True).stdout.splitlines()
        return f"{address}:{port}" in (row.split()[3] for row in rows)

    def move(self, device: int, old: str, new: str) -> None:
        """Give it another address instead, as a DHCP server may."""
        # In this order: with the first address of a network go the later ones.
        self._run(["ip", "-n", f"{PREFIX}-n{device}", "addr", "del", f"{old}/24", "dev", "eth0"], check=True)
        self.give(device, new)

    def give(self, device: int, address: str) -> None:
        """Give it one more address, until its power fails or `move` takes it."""
        self._run(["ip", "-n", f"{PREFIX}-n{device}", "addr", "replace", f"{address}/24", "dev", "eth0"], check=True)

    # The network

    def connect(self, device: int, port: int = PORT) -> socket.socket:
        """A TCP connection of this process, as from the host's place on the network."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        place = os.open(f"/run/netns/{PREFIX}-m", os.O_RDONLY)
        try:
            _enter(place)
            return socket.create_connection((self.address(device), port), timeout=20)
        finally:
            _enter(home)
            os.close(home)
            os.close(place)

    def on_host(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run any command in the host's place on the network."""
        return self._run([*INSIDE, *command])

    def swallow(self, address: str) -> None:
        """Let an address that nobody has look alive to the host's network card: packets vanish without an answer."""
        neighbour = ["ip", "-n", f"{PREFIX}-m", "neigh", "replace", address]
        self._run([*neighbour, "lladdr", "dc:a6:32:77:01:01", "dev", "eth0"], check=True)

    def _settle(self, device: int) -> None:
        """Keep a quirk of the containers short.

        Their systemd now and then does not notice that a cgroup has become empty. When that happens to the service
        manager of a user whose last session has ended, his next login waits until the stop is given up: two minutes.
        """
        place = "/etc/systemd/system/user@.service.d"
        self.root(device, f"mkdir -p {place}; printf '[Service]\\nTimeoutStopSec=1\\n' >{place}/lab.conf")
        self.root(device, "systemctl daemon-reload")

    def _first_process(self, device: int) -> str:
        """The device's PID 1, by the number that this machine knows it by."""
        members = Path("/sys/fs/cgroup/cpu", PREFIX, f"n{device}", "cgroup.procs").read_text().split()
        for each in members:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended since it was listed
                name, rest = Path("/proc", each, "stat").read_text().split("(", 1)[1].rsplit(")", 1)
                parent = Path("/proc", rest.split()[1], "comm").read_text().strip()
                if (name, parent) == ("systemd", "systemd-nspawn"):
                    return each
        raise AssertionError(f"device {device} does not run")

    def _nspawn(self, *words: str, check: bool = True) -> str:
        done = self._run(["bash", str(self._scripts / "pi_nspawn.sh"), *words])
        if check and done.returncode:
            raise AssertionError(f"pi_nspawn.sh {' '.join(words)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def _fleet(self, *words: str) -> None:
        self._run([sys.executable, str(self._scripts / "fleet.py"), *words], check=True)

    def _run(self, command: Sequence[str], *, check: bool = False) -> subprocess.CompletedProcess[str]:
        # Files, not pipes: what `up` starts lives on and would keep a pipe open.
        with (self._work / "out").open("w+") as out, (self._work / "err").open("w+") as err:
            call = list(command)
            done = subprocess.run(call, env=self._env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False)
            for file in (out, err):
                file.seek(0)
            told = subprocess.CompletedProcess(call, done.returncode, out.read(), err.read())
        assert not check or told.returncode == 0, told
        return told
