"""Examining devices, and the few repairs that are safe to make from here.

A repair is the very command that its question shows. The clock of a device is never set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from shlex import quote
from typing import TYPE_CHECKING, Final

import cocoi_agent
from cocoi_cli.fleet import contact, survey
from cocoi_cli.fleet.findings import findings, shared_identities
from cocoi_cli.fleet.ondevice.layout import TRIAL, TRIAL_UNIT, UNIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cocoi_cli.errors import CocoiError
    from cocoi_cli.fleet.access import Access
    from cocoi_cli.fleet.facts import DeviceFacts
    from cocoi_cli.fleet.findings import Finding, Reach
    from cocoi_cli.fleet.records import Device
    from cocoi_cli.fleet.remote import Remote

REPAIR_S: Final = 90.0  # a restart waits for the agent's self-test

_GOVERNORS: Final = "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
# Over SSH the variable that leads to the user's own services may be missing.
_OWN: Final = 'XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}" systemctl --user'


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found on one device."""

    facts: DeviceFacts
    reach: Reach
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that can be done about a finding.

    Attributes:
        device: Name of the device.
        code: Of the finding.
        what: What it changes, one clause.
        command: For the device's shell; as it is shown, so it is run.
        root: Whether root runs it.
        asked: Whether only somebody who is asked may agree to it, not `--yes`.
    """

    device: str
    code: str
    what: str
    command: str
    root: bool
    asked: bool


async def examine(
    devices: Sequence[Device], access: Access, *, on_stage: Callable[[str, str], None] | None = None
) -> dict[str, Examination | CocoiError]:
    """Look at devices and their agents' ports; changes nothing."""
    keys: dict[str, str] = {}

    async def work(remote: Remote, device: Device) -> Examination:
        keys[device.name] = remote.host_key
        remote.begin("facts")
        facts = await survey.read_facts(remote, device)
        reach = await survey.reach(device)
        addresses = await survey.resolve(device)
        version = cocoi_agent.__version__
        return Examination(facts, reach, findings(facts, device, addresses=addresses, reach=reach, version=version))

    results = await contact.each(devices, access, work, on_stage=on_stage)
    return _compared(results, keys)


async def carry_out(
    repairs: Sequence[Repair],
    devices: Sequence[Device],
    access: Access,
    *,
    on_stage: Callable[[str, str], None] | None = None,
) -> dict[str, CocoiError | None]:
    """Make repairs, those of one device in order; the first that fails ends that device's.

    Returns:
        For each device that has repairs, None or what went wrong.
    """

    async def work(remote: Remote, device: Device) -> None:
        for repair in repairs:
            if repair.device == device.name:
                remote.begin(repair.what)
                await remote.run(repair.command, root=repair.root, timeout_s=REPAIR_S)

    named = {repair.device for repair in repairs}
    return await contact.each([each for each in devices if each.name in named], access, work, on_stage=on_stage)


def repairs(device: Device, found: Sequence[Finding]) -> tuple[Repair, ...]:
    """What can be done about findings, in their order. Pure."""
    made = (_repair(device.name, finding) for finding in found)
    return tuple(repair for repair in made if repair is not None)


def _repair(device: str, finding: Finding) -> Repair | None:
    details = finding.details
    match finding.code:
        case "wifi-power-save":
            what, command = (
                "switch Wi-Fi power save off",
                f"iw dev {quote(str(details['interface']))} set power_save off",
            )
        case "slow-governor":
            what, command = "set the governor `performance`", f"echo performance | tee {_GOVERNORS}"
        case "agent-down" | "agent-deaf" if finding.fix == "safe":
            control = _OWN if details["mode"] == "user" else "systemctl"
            what, command = "restart the agent", f"{control} reset-failed {UNIT}; {control} restart {UNIT}"
        case "test-left":
            what, command = "remove what a test of a deploy left", _remove_test(str(details["folder"]))
        case _:
            return None
    own = "--user" in command
    return Repair(device, finding.code, what, command, root=not own, asked=finding.fix == "asked")


def _remove_test(folder: str) -> str:
    """Stop the test's unit and remove it with what systemd made for it."""
    unit = quote(f"{folder}/{TRIAL_UNIT}")
    if folder.startswith("/run/user/"):
        return f"{_OWN} stop {TRIAL_UNIT}; rm -f {unit}; {_OWN} daemon-reload"
    made = f"/var/lib/private/{TRIAL} /var/lib/{TRIAL} /run/private/{TRIAL} /run/{TRIAL} /run/{TRIAL}.out"
    return f"systemctl stop {TRIAL_UNIT}; rm -rf {unit} {made}; systemctl daemon-reload"


def _compared(
    results: dict[str, Examination | CocoiError], keys: Mapping[str, str]
) -> dict[str, Examination | CocoiError]:
    """Add what only shows when devices are compared."""
    seen = {name: each for name, each in results.items() if isinstance(each, Examination)}
    shared = shared_identities({name: (each.facts.machine_id, keys.get(name)) for name, each in seen.items()})
    return {
        name: replace(each, findings=(shared[name], *each.findings))
        if isinstance(each, Examination) and name in shared
        else each
        for name, each in results.items()
    }
