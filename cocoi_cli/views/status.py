"""A fleet at one moment: records, a table of 80 columns, sentences and a document."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text

from cocoi_cli.views.folding_table import FoldingTable
from cocoi_cli.views.lines import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from cocoi_cli.runtime.inquiry import Condition

WORDS = {"version": "other version", "no-agent": "no agent"}
CODES = {"down": "agent-unreachable", "refused": "agent-unreachable", "version": "version", "no-agent": "not-deployed"}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device.

    Attributes:
        name: In the fleet.
        address: Where its agent listens, or would.
        port: On which TCP port.
        state: `up`, `down`, `refused`, `version`, `no-agent` or `drained`.
        cause: Why it does not answer; empty where it does.
        drained: Whether it is kept from inference.
        condition: What the agent said of itself; None where it does not answer.
        seen: When it last answered this host, in seconds since 1970; None if never.
    """

    name: str
    address: str
    port: int
    state: str
    cause: str
    drained: bool
    condition: Condition | None
    seen: float | None

    @property
    def version(self) -> str:
        """Of its agent: the last word of, for example, `cocoi-agent 0.1.0`."""
        return "" if self.condition is None else self.condition.software.rpartition(" ")[2]


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """All devices, and what their number means.

    Attributes:
        devices: In the order of the fleet file.
        now: The moment, in seconds since 1970.
        pieces: Answers that are enough by default when all devices work (k).
        code: The (n,k) that an inference would use by default now; None where no agent is up.
        version: Of this host's software.
    """

    devices: tuple[DeviceStatus, ...]
    now: float
    pieces: int
    code: tuple[int, int] | None
    version: str

    @property
    def up(self) -> int:
        """Devices that an inference would use now."""
        return sum(device.state == "up" for device in self.devices)

    @property
    def margin(self) -> int:
        """How many more devices may fail before fewer than k are left; negative where fewer are left already."""
        return self.up - self.pieces

    @property
    def ready(self) -> bool:
        """Whether at least k devices are up."""
        return self.margin >= 0


def status_table(status: FleetStatus) -> Table:
    """One row per device."""
    table = FoldingTable(gap=1)
    table.add_column("device", overflow="ellipsis", max_width=20)
    table.add_column("state", no_wrap=True)
    table.add_column("version", no_wrap=True)
    table.add_column("temp", justify="right", no_wrap=True)
    table.add_column("throttled", no_wrap=True)
    for header in ("queue", "served", "free"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("up/seen", justify="right", no_wrap=True)
    for device in status.devices:
        # The name alone gives way where the line would be longer than the terminal.
        name = Text(device.name, no_wrap=True, overflow="ellipsis")
        style = {"up": "", "drained": "dim"}.get(device.state, "yellow")
        table.add_row(name, Text(WORDS.get(device.state, device.state), style=style), *_figures(device, status.now))
    return table


def redundancy_text(status: FleetStatus) -> str:
    """How many devices are up, and how many more may fail."""
    text = f"redundancy: {status.up} of {len(status.devices)} up, k = {status.pieces} by default: "
    if status.ready:
        return f"{text}{status.margin} more may fail"
    if status.code is None:
        return f"{text}this machine computes alone"
    n, k = status.code
    return f"{text}{-status.margin} too few; inference uses ({n},{k})"


def remarks(status: FleetStatus) -> list[str]:
    """Why devices do not answer, and which agents are not of this host's version."""
    lines = [f"{device.name}: {device.cause}" for device in status.devices if device.cause]
    lines += [
        f"{device.name}: its agent is of version {device.version}, this machine of {status.version}"
        for device in status.devices
        if device.version not in {"", status.version}
    ]
    return lines


def status_document(status: FleetStatus, hint: Callable[[str], str | None]) -> dict[str, Any]:
    """The same as a tree; `hint` gives the next step for the code of an error."""
    return {
        "devices": {device.name: _entry(device, hint) for device in status.devices},
        "redundancy": redundancy_document(status),
    }


def redundancy_document(status: FleetStatus) -> dict[str, Any]:
    """The numbers behind `redundancy_text`."""
    n, k = status.code or (0, 0)
    return {
        "devices": len(status.devices),
        "up": status.up,
        "k": status.pieces,
        "margin": status.margin,
        "ready": status.ready,
        "code_now": {"n": n, "k": k},
    }


def _figures(device: DeviceStatus, now: float) -> tuple[str, ...]:
    condition = device.condition
    if condition is None or condition.vitals is None:
        seen = "never" if device.seen is None else f"{_span(now - device.seen)} ago"
        return ("", "", "", "", "", "", seen)
    vitals = condition.vitals
    return (
        device.version,
        "" if vitals.temperature_c is None else f"{vitals.temperature_c:.0f} °C",
        _throttled(throttled=vitals.throttled, undervolted=vitals.undervolted),
        str(vitals.queued),
        str(vitals.served),
        "" if vitals.memory_available is None else size(vitals.memory_available),
        _span(vitals.uptime_s),
    )


def _throttled(*, throttled: bool | None, undervolted: bool | None) -> str:
    if undervolted:
        return "low power"
    return {True: "yes", False: "no", None: ""}[throttled]


def _span(seconds: float) -> str:
    """A stretch of time in its largest unit: `40 s`, `12 min`, `3 h`, `4 d`."""
    for unit, word in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {word}"
    return f"{max(seconds, 0):.0f} s"


def _entry(device: DeviceStatus, hint: Callable[[str], str | None]) -> dict[str, Any]:
    condition = device.condition
    entry: dict[str, Any] = {
        "state": device.state,
        "drained": device.drained,
        "answers": condition is not None,
        "address": device.address,
        "port": device.port,
        "version": device.version or None,
        "round_trip_s": None if condition is None else condition.round_trip_s,
        "machine": None if condition is None else dict(condition.machine),
        "vitals": None if condition is None or condition.vitals is None else asdict(condition.vitals),
        "last_seen": None if device.seen is None else datetime.fromtimestamp(device.seen, UTC).isoformat(),
    }
    if device.cause:
        code = CODES.get(device.state, "agent-unreachable")
        details = {"device": device.name, "cause": device.cause, "kind": device.state}
        entry |= {"error": code, "message": f"`{device.name}`: {device.cause}", "hint": hint(code), "details": details}
    return entry
