"""The profile: what was measured of a fleet's devices, with date and conditions. Pure.

Durations are kept as they were measured, one by one: which distribution fits them is
decided by whoever plans with them. `planning.profile_file` is the form on disk.

Notation: `q` is a quantile's order, 0.5 for the median.

Source: docs/methods.md, the latency model (one distribution per device and phase).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SCHEMA: Final = 1
"""Version of the form on disk; a change that older readers would misread raises it."""

Through = Literal["direct", "ssh"]
ORDERS: Final = (0.5, 0.95, 0.99)

REST_S: Final = 0.020
"""A device that had nothing to do for so long is rested: its first share may take less, where a quota has filled up
meanwhile, or more, where its processor has slowed down. Between two stages of an inference devices often are."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Durations of one repeated piece of work.

    Attributes:
        size: Bytes, or floating-point operations, of one repetition; positive.
        seconds: What each took, in order; positive.
    """

    size: int
    seconds: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Size per second over all repetitions, pauses that the device took included; 0 without samples."""
        return self.size * len(self.seconds) / sum(self.seconds) if self.seconds else 0.0

    @property
    def mean_s(self) -> float:
        """Mean duration; 0 without samples."""
        return sum(self.seconds) / len(self.seconds) if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Round:
    """One round of the link measurement.

    Attributes:
        rtt_s: Round trips of a few bytes.
        up: Transfers from the host to the device.
        down: Transfers from the device to the host.
    """

    rtt_s: tuple[float, ...]
    up: Samples
    down: Samples


@dataclass(frozen=True, slots=True)
class Link:
    """The link between the host and a device.

    Attributes:
        through: `direct`, a TCP connection as inference uses it; or `ssh`, through the
            encrypted channel because no port could be reached: slower than the link is.
        rounds: In order.
    """

    through: Through
    rounds: tuple[Round, ...]

    @property
    def rtt_s(self) -> tuple[float, ...]:
        """Round trips of all rounds."""
        return tuple(value for each in self.rounds for value in each.rtt_s)

    def rates(self, direction: Literal["up", "down"]) -> tuple[float, ...]:
        """Bytes per second of every transfer of all rounds."""
        measured = [each.up if direction == "up" else each.down for each in self.rounds]
        return tuple(samples.size / value for samples in measured for value in samples.seconds)


@dataclass(frozen=True, slots=True)
class Convolution:
    """Strips of one convolution; `samples.size` is their floating-point operations.

    Attributes:
        kernel: Rows and columns of the kernel, which is square; stride 1.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        width: Columns of the output.
        rows: Rows of the output: the strip.
        samples: Service times of one strip in one thread, weights already there.
    """

    kernel: int
    in_channels: int
    out_channels: int
    width: int
    rows: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class Compute:
    """What a device computes, in one thread.

    Attributes:
        runtime: Version of ONNX Runtime.
        convolutions: A grid of shapes and strips.
        skipped: How many of the grid's cells were left out, the device being too slow for the time allowed.
        passes: By what was passed over memory: `to-float16`, `to-float32`, `copy`; bytes of float32.
        tls: By cipher and direction, `chacha20-seal`, `aes-256-gcm-open`, ...; bytes of plain data.
        tasks: Shares that hardly compute, one after the other without a pause; size 1. None where not measured.
        rested: The same, each after a pause of `REST_S`. None where not measured.
        carrying: What a share takes more for the bytes that come and go with it; size in bytes. None where not
            measured.
    """

    runtime: str
    convolutions: tuple[Convolution, ...]
    skipped: int
    passes: Mapping[str, Samples]
    tls: Mapping[str, Samples]
    tasks: Samples | None = None
    rested: Samples | None = None
    carrying: Samples | None = None

    @property
    def flops_per_s(self) -> float:
        """Operations per second over the whole grid, each cell counted once; 0 without any."""
        measured = [each.samples for each in self.convolutions if each.samples.seconds]
        spent = sum(samples.size / samples.rate for samples in measured)
        return sum(samples.size for samples in measured) / spent if spent else 0.0


@dataclass(frozen=True, slots=True)
class Condition:
    """How a device was doing at one moment.

    Attributes:
        when: `before`, `during` or `after` the measurement.
        temperature_c: Of the processor.
        throttled: Flags that held: `under-voltage`, `frequency-capped`, `throttled`, `soft-temperature-limit`.
        since_boot: The same at any time since it started; None where the device does not tell.
        governor: Of the clock speed.
        frequency_hz: Clock speed of the first core.
    """

    when: Literal["before", "during", "after"]
    temperature_c: float | None
    throttled: tuple[str, ...]
    since_boot: tuple[str, ...] | None
    governor: str | None
    frequency_hz: int | None


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """What was measured of one device.

    Attributes:
        made: When, ISO 8601 in UTC.
        machine_id: Which device it was.
        facts: What it is, for people and for comparisons: `model`, `cores`, `memory_bytes`, `architecture`,
            `os`, `python`, `interface`, `speed_mbit`, `power_save`; None where unknown.
        conditions: Before, during and after.
        clock_offset_s: Its clock minus the host's; None if not measured.
        clock_uncertainty_s: How far off that may be.
        link: None if it was not measured.
        compute: None where nothing could compute.
    """

    made: str
    machine_id: str | None
    facts: Mapping[str, str | int | bool | None]
    conditions: tuple[Condition, ...]
    clock_offset_s: float | None
    clock_uncertainty_s: float | None
    link: Link | None
    compute: Compute | None

    @property
    def valid(self) -> bool:
        """Whether a plan may be built on this."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the figures are not the device's own: it was throttled while they were taken."""
        return invalid_reasons(self.conditions)


@dataclass(frozen=True, slots=True)
class Port:
    """What the host's port carried when many devices sent or received at once.

    Attributes:
        devices: How many.
        up: Bytes to all of them together, and how long they took.
        down: Bytes from all of them together, likewise.
    """

    devices: int
    up: Samples
    down: Samples


@dataclass(frozen=True, slots=True)
class Profile:
    """What was measured of a fleet.

    Attributes:
        fleet: Id of the fleet file.
        made: When it was last added to, ISO 8601 in UTC.
        cocoi: Version of the host that wrote it.
        devices: By name.
        port: Of the host; None where devices were only measured one by one.
    """

    fleet: str
    made: str
    cocoi: str
    devices: Mapping[str, DeviceProfile]
    port: Port | None = None

    def updated(self, newer: Profile) -> Profile:
        """This one with the devices of a newer one in place of its own of the same names.

        A profile of another fleet has nothing to do with this one; the newer is returned as it is. A port that more
        devices had filled is known better.
        """
        if newer.fleet != self.fleet:
            return newer
        ports = [each for each in (newer.port, self.port) if each is not None]
        port = max(ports, key=lambda each: each.devices, default=None)  # the newer of equals
        return replace(newer, devices={**self.devices, **newer.devices}, port=port)


def invalid_reasons(conditions: Iterable[Condition]) -> tuple[str, ...]:
    """Each flag with the moments at which it held; flags that came up between two looks too."""
    moments: dict[str, list[str]] = {}
    seen: frozenset[str] | None = None
    for condition in conditions:
        since = None if condition.since_boot is None else frozenset(condition.since_boot)
        came_up = since - seen if since is not None and seen is not None else frozenset()
        for flag in sorted({*condition.throttled, *came_up}):
            when = condition.when if flag in condition.throttled else f"shortly before `{condition.when}`"
            if when not in moments.setdefault(flag, []):
                moments[flag].append(when)
        seen = since if since is not None else seen
    return tuple(f"{flag} {', '.join(whens)}" for flag, whens in moments.items())


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile, linear between neighbours.

    Raises:
        ValueError: Without values, or for q outside 0 to 1.
    """
    if not values or not 0 <= q <= 1:
        raise ValueError(f"no {q}-quantile of {len(values)} values")
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 of some values; empty without any."""
    return {f"p{round(q * 100)}": quantile(values, q) for q in ORDERS} if values else {}
