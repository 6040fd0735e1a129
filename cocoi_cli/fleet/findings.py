"""What is wrong with a device, judged from its facts. Pure; everything at once, never only the first.

`preflight` asks whether an agent can be installed, `health` how an installed one and its
device are doing. What to do about a finding is in `cocoi_cli.hints`, under its code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from cocoi_cli.fleet.facts import OLDEST_PYTHON
from cocoi_cli.fleet.runtimes import known_bad

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cocoi_cli.fleet.facts import DeviceFacts
    from cocoi_cli.fleet.records import Device, Install

Severity = Literal["error", "warning", "note"]
Fix = Literal["safe", "asked", "none"]
"""`safe`: `doctor --fix` offers it; `asked`: it does so only with somebody to say yes; `none`: by hand."""

MB: Final = 10**6
GB: Final = 10**9
OLDEST_LIBC: Final = (2, 28)  # manylinux_2_28, the only wheels of ONNX Runtime for aarch64
OLDEST_SYSTEMD: Final = 247  # Debian 11's, the oldest that the units were written for
LEAST_DISK: Final = 300 * MB  # about 40 MB of wheels, what they unpack to, and a second version beside
LEAST_MEMORY: Final = 128 * MB  # Python with ONNX Runtime and the first sessions
LITTLE_MEMORY: Final = 256 << 20  # the agent's own default for tensors
WRONG_CLOCK_S: Final = 86400.0
SLOW_CLOCK_S: Final = 60.0
MANY_RESTARTS: Final = 3
SUPPORTED: Final = ("aarch64", "x86_64")
SMALL_USERLANDS: Final = frozenset({"armhf", "armel", "i386", "armv6l", "armv7l", "armv8l", "i686"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a device that its owner should know.

    Attributes:
        code: Stable word.
        severity: `error` (it cannot work so), `warning` (it will be slow or fail) or `note`.
        message: One clause with the values, lower case, without full stop.
        fix: Whether `doctor --fix` can do something.
        details: The deciding values, for `hints` and for programs.
    """

    code: str
    severity: Severity
    message: str
    fix: Fix = "none"
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reach:
    """What came of connecting to the agent's port from the host.

    Attributes:
        connected: Whether somebody took the connection.
        kind: Why not: `refused`, `timeout`, `unreachable` or `unresolved`; empty where connected.
    """

    connected: bool
    kind: str = ""


def findings(
    facts: DeviceFacts,
    device: Device,
    *,
    addresses: Sequence[str] = (),
    reach: Reach | None = None,
    version: str | None = None,
) -> tuple[Finding, ...]:
    """All of `preflight` and `health`, errors first."""
    found = [*preflight(facts, device, addresses=addresses), *health(facts, device, reach=reach, version=version)]
    order: list[Severity] = ["error", "warning", "note"]
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def preflight(
    facts: DeviceFacts, device: Device, *, addresses: Sequence[str] = (), install: Install | None = None
) -> tuple[Finding, ...]:
    """Whether an agent can be installed; an `error` says that it cannot.

    Args:
        facts: What the device told.
        device: As the fleet file has it.
        addresses: What `device.address` resolves to; without any, its ownership is not judged.
        install: The mode to judge for; None for the device's own.
    """
    mode = install or device.install
    parts = (
        _identity(facts, device),
        _userland(facts),
        _python(facts),
        _room(facts, mode),
        _systemd(facts, mode),
        _address(facts, device, addresses),
        _clock(facts),
    )
    return tuple(finding for part in parts for finding in part)


def health(
    facts: DeviceFacts, device: Device, *, reach: Reach | None = None, version: str | None = None
) -> tuple[Finding, ...]:
    """How the device and its agent are doing.

    Args:
        facts: What the device told.
        device: As the fleet file has it.
        reach: What came of connecting to the agent's port; None if nobody tried.
        version: Of the host; None if it does not matter.
    """
    parts = (_power(facts), _speed(facts), _upkeep(facts, device), _agent(facts, device, reach, version))
    return tuple(finding for part in parts for finding in part)


def shared_identities(devices: Mapping[str, tuple[str | None, str | None]]) -> dict[str, Finding]:
    """Devices that cannot be told apart: cloned cards, or one device under two names.

    Args:
        devices: Machine-id and host key by name; None where unknown.

    Returns:
        A finding for each device that shares either with another one.
    """
    found: dict[str, Finding] = {}
    for place, what in ((0, "machine-id"), (1, "ssh host key")):
        owners: dict[str, list[str]] = {}
        for name, identity in devices.items():
            if identity[place]:
                owners.setdefault(str(identity[place]), []).append(name)
        for value, names in owners.items():
            for name in names if len(names) > 1 else ():
                others = [each for each in names if each != name]
                text = f"it has the same {what} as " + ", ".join(f"`{each}`" for each in others)
                found.setdefault(
                    name, Finding("same-identity", "error", text, details={"others": others, "what": what, "id": value})
                )
    return found


def _identity(facts: DeviceFacts, device: Device) -> Iterator[Finding]:
    if device.machine_id and facts.machine_id and facts.machine_id != device.machine_id:
        details = {"expected": device.machine_id, "found": facts.machine_id, "device": device.name}
        text = f"its machine-id is {facts.machine_id}, and the fleet file has {device.machine_id}"
        yield Finding("other-machine", "error", text, details=details)


def _userland(facts: DeviceFacts) -> Iterator[Finding]:
    architecture = facts.architecture
    if architecture in SMALL_USERLANDS or facts.bits == 32:
        text = f"32-bit system ({architecture or 'unknown'}): ONNX Runtime has no 32-bit build"
        yield Finding("32-bit-userland", "error", text, details={"architecture": architecture})
    elif architecture is not None and architecture not in SUPPORTED:
        text = f"its architecture is {architecture}; agents run on {' and '.join(SUPPORTED)}"
        yield Finding("unsupported-architecture", "error", text, details={"architecture": architecture})
    if facts.libc is None:
        if facts.os is not None:
            text = f"{facts.os} has no GNU C library, which ONNX Runtime needs"
            yield Finding("old-libc", "error", text, details={"libc": None, "os": facts.os})
    elif facts.libc < OLDEST_LIBC:
        text = f"its C library is glibc {_dotted(facts.libc)}; ONNX Runtime needs {_dotted(OLDEST_LIBC)} or newer"
        yield Finding("old-libc", "error", text, details={"libc": _dotted(facts.libc), "os": facts.os})


def _python(facts: DeviceFacts) -> Iterator[Finding]:
    seen = [f"{each.path} ({each.text})" for each in facts.interpreters]
    new = [each for each in facts.interpreters if each.version >= OLDEST_PYTHON]
    details = {"seen": seen, "os": facts.os, "oldest": _dotted(OLDEST_PYTHON)}
    if not seen:
        yield Finding("no-python", "error", "it has no Python 3", details=details)
    elif not new:
        text = f"its newest Python is too old: {_dotted(OLDEST_PYTHON)} or newer is needed, it has {', '.join(seen)}"
        yield Finding("old-python", "error", text, details=details)
    elif not any(each.venv for each in new):
        text = f"{new[0].path} lacks the module `venv`"
        yield Finding("no-venv", "error", text, details={**details, "python": new[0].path})
    elif all(each.ssl is False for each in new if each.venv):
        text = f"{new[0].path} lacks the module `ssl`, so nothing could be encrypted"
        yield Finding("no-ssl", "error", text, details={**details, "python": new[0].path})


def _room(facts: DeviceFacts, install: Install) -> Iterator[Finding]:
    places = ["/opt", "/var/lib"] if install == "system" else [facts.home or ""]
    disks = [disk for disk in map(facts.disk, places) if disk is not None]
    if disks:
        disk = min(disks, key=lambda each: (not each.read_only, each.free))
        details = {"path": disk.path, "free": disk.free, "needed": LEAST_DISK}
        if disk.read_only:
            yield Finding(
                "read-only-disk", "error", f"`{disk.path}` cannot be written: it is read-only", details=details
            )
        elif disk.free < LEAST_DISK:
            text = f"{_size(disk.free)} free at `{disk.path}`; an agent needs {_size(LEAST_DISK)}"
            yield Finding("little-disk", "error", text, details=details)
    available = facts.memory_available
    if available is not None and available < LITTLE_MEMORY:
        text = f"{_size(available)} of memory free of {_size(facts.memory_total or 0)}"
        needed = LEAST_MEMORY if available < LEAST_MEMORY else LITTLE_MEMORY
        severity: Severity = "error" if available < LEAST_MEMORY else "warning"
        text += f"; an agent needs {_size(needed)}"
        yield Finding("little-memory", severity, text, details={"available": available, "total": facts.memory_total})


def _systemd(facts: DeviceFacts, install: Install) -> Iterator[Finding]:
    if facts.systemd_running is False:
        yield Finding("no-systemd", "error", "systemd does not run it", details={"version": facts.systemd})
    elif facts.systemd is not None and facts.systemd < OLDEST_SYSTEMD:
        text = f"systemd {facts.systemd}; {OLDEST_SYSTEMD} or newer is needed"
        yield Finding("old-systemd", "error", text, details={"version": facts.systemd})
    if install == "user" and facts.linger is False and facts.install("user") is not None:
        text = f"services of `{facts.user}` end at logout: linger is off"
        yield Finding("linger-off", "warning", text, details={"user": facts.user})


def _address(facts: DeviceFacts, device: Device, addresses: Sequence[str]) -> Iterator[Finding]:
    own = [f"{address} ({each.name})" for each in facts.interfaces for address in each.addresses if _public(each.kind)]
    if addresses and facts.interfaces and facts.owner(addresses) is None:
        listed = ", ".join(own) or "none"
        text = f"`{device.address}` is no address of it; it has {listed}"
        yield Finding("address-absent", "error", text, details={"address": device.address, "own": own})
    taken = facts.listener
    if taken is not None and not facts.installed and taken.process != "cocoi-agent":
        by = f"`{taken.process}`" if taken.process else "a process"
        text = f"port {device.port} is taken by {by} of user `{taken.user}`"
        yield Finding("port-taken", "error", text, details={"port": device.port, "device": device.name})


def _clock(facts: DeviceFacts) -> Iterator[Finding]:
    sure = abs(facts.clock_offset_s) - facts.clock_uncertainty_s
    if sure > SLOW_CLOCK_S:
        way = "behind" if facts.clock_offset_s < 0 else "ahead"
        text = f"its clock is {_duration(abs(facts.clock_offset_s))} {way} of this machine's"
        severity: Severity = "warning" if sure > WRONG_CLOCK_S else "note"
        yield Finding("wrong-clock", severity, text, details={"offset_s": facts.clock_offset_s})
    if facts.synchronised is False:
        yield Finding("no-time-service", "note", "nothing keeps its clock right")


def _power(facts: DeviceFacts) -> Iterator[Finding]:
    now, before = facts.condition.throttled, facts.condition.since_boot or ()
    heat = facts.condition.temperature_c
    at = "" if heat is None else f", at {heat:.0f} °C"
    others = [flag for flag in now if flag != "under-voltage"]
    if "under-voltage" in now:
        yield Finding("under-voltage", "warning", "under-voltage now: it gets too little power")
    elif "under-voltage" in before:
        yield Finding("under-voltage-before", "note", "under-voltage since it started")
    if others:
        text = f"throttled now ({', '.join(others)}){at}"
        yield Finding("throttled", "warning", text, details={"flags": others, "temperature_c": heat})
    elif earlier := [flag for flag in before if flag != "under-voltage"]:
        text = f"throttled since it started ({', '.join(earlier)}){at}"
        yield Finding("throttled-before", "note", text, details={"flags": earlier, "temperature_c": heat})


def _speed(facts: DeviceFacts) -> Iterator[Finding]:
    for each in facts.interfaces:
        if each.power_save and each.addresses:
            text = f"Wi-Fi power save is on ({each.name}): the first packets after a pause come late"
            yield Finding("wifi-power-save", "warning", text, "safe", {"interface": each.name})
    governor = facts.condition.governor
    if governor not in (None, "performance") and "performance" in facts.governors:
        text = f"its clock speed follows the load (governor `{governor}`): short bursts of work are slow"
        severity: Severity = "warning" if governor == "powersave" else "note"
        yield Finding("slow-governor", severity, text, "asked", {"governor": governor})


def _upkeep(facts: DeviceFacts, device: Device) -> Iterator[Finding]:
    if facts.memory_cgroup is False:
        text = "its kernel bounds no service's memory (no memory cgroup); the agent bounds its own"
        yield Finding("memory-cgroup-off", "note", text)
    if facts.journal_kept is False:
        yield Finding("journal-volatile", "note", "its journal is lost at power-off")
    for folder in facts.test_units:
        text = f"a test of a deploy was left behind in `{folder}`"
        yield Finding("test-left", "warning", text, "safe", {"folder": folder, "device": device.name})


def _agent(facts: DeviceFacts, device: Device, reach: Reach | None, version: str | None) -> Iterator[Finding]:
    installed = facts.install(device.install) or facts.install()
    if installed is None:
        yield Finding("no-agent", "note", "no agent is installed", details={"device": device.name})
        return
    details = {"device": device.name, "mode": installed.mode}
    if installed.onnxruntime and (cause := known_bad(installed.onnxruntime)):
        text = f"ONNX Runtime {installed.onnxruntime} is installed, and {cause}"
        yield Finding("bad-installed-runtime", "error", text, details={**details, "version": installed.onnxruntime})
    if version is not None and installed.agent not in (None, version):
        text = f"its agent is {installed.agent}, this machine has {version}"
        yield Finding("other-version", "note", text, details={**details, "agent": installed.agent})
    unit = installed.unit
    if unit is None or unit.active != "active":
        state = "systemd does not know it" if unit is None else f"{unit.active}, {unit.result}"
        fix: Fix = "none" if unit is None else "safe"
        yield Finding("agent-down", "error", f"its agent does not run ({state})", fix, details)
        return
    if unit.restarts and unit.restarts >= MANY_RESTARTS:
        text = f"its agent was restarted {unit.restarts} times"
        yield Finding("agent-restarts", "warning", text, details={**details, "restarts": unit.restarts})
    if reach is not None and not reach.connected:
        heard = "although something listens there" if facts.listener else "and nothing listens there"
        text = f"port {device.port} of {device.address} cannot be reached ({reach.kind}), {heard}"
        code, fix = ("port-blocked", "none") if facts.listener else ("agent-deaf", "safe")
        yield Finding(code, "error", text, fix, {**details, "kind": reach.kind, "port": device.port})


def _public(kind: str) -> bool:
    return kind != "loopback"


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _size(count: int) -> str:
    return f"{count / GB:.1f} GB" if count >= GB else f"{count / MB:.0f} MB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
