"""From a profile to a model of the fleet. Pure.

What is taken from where:

- **speed** of each measured slice: the mean over its repetitions. Means, because a device under a CPU quota (and
  one whose clock is throttled now and then) computes in bursts: most repetitions of a small slice are far too
  fast and a few wait for the next period, so no quantile of them is the speed;
- **spread**: one ratio of shift to excess per device, from slices that were repeated often, else from all together.
  Repetitions are joined to blocks of at least `BLOCK_S`, about what a share takes, for the spread of something
  shorter says nothing about it; and what was repeated often tells how long a share may be for that spread to hold;
- **links**: every transfer of every round, per byte;
- **the device's part of its link**: what bytes cost its processor, as measured through the agent, of what they take
  on the link, which contains it; else none, as where other cores see to them;
- **fixed cost** of a share: as measured through the agent, one after the other and after a rest;
  else `TASK_S`, and what a slice costs before its first row where the slices tell.

Source: docs/methods.md, the latency model.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, ClassVar, Final

from cocoi_cli.errors import ConfigurationError
from cocoi_cli.planning.fitting import Fit, fit_rates
from cocoi_cli.planning.fleet_model import Cell, DeviceModel, FleetModel, Phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cocoi_cli.planning.fleet_model import HostModel
    from cocoi_cli.planning.profile import Compute, Convolution, DeviceProfile, Link, Profile

TASK_S: Final = 0.8e-3
"""Assumed cost of one share on a Raspberry Pi 4 beside its convolution: receiving, unpacking, answering in Python.
A profile measures none of it, and round trips do not contain it."""

BLOCK_S: Final = 20e-3
"""Repetitions are joined until they take so long; shares that are worth sending do."""

MANY: Final = 20
"""Where a slice was repeated so often in a row, it tells how durations spread, and the others need not be asked: a
few repetitions of each show more of what went on beside, and of their small number, than of the device."""

BURST: Final = 3.0
"""Where the mean is so many times the shortest repetition, the slice was computed in bursts."""

_PER_MAC: Final = 2  # operations of a multiply-accumulate: profiles count operations
_FEWEST_LAYERS: Final = 3  # measured at two heights, before the cost of their first row is believed
_MEDIAN_ERROR: Final = 1.25  # of a median against a mean's
_STANDS_OUT: Final = 3.0  # standard errors


class NotInProfileError(ConfigurationError):
    """A device was asked for that the profile does not know (exit 3)."""

    code: ClassVar[str] = "not-in-profile"

    def __init__(self, device: str, *, fleet: str) -> None:
        super().__init__(f"`{device}` is not in the profile of fleet `{fleet}`", device=device, fleet=fleet)


class NothingComputedError(ConfigurationError):
    """The profile of a device has no convolution (exit 3)."""

    code: ClassVar[str] = "nothing-computed"

    def __init__(self, device: str, *, made: str) -> None:
        super().__init__(f"the profile of `{device}` of {made} measured no convolution", device=device, made=made)


class LinkNotMeasuredError(ConfigurationError):
    """The profile of a device has no transfer in one direction, or no round trip (exit 3)."""

    code: ClassVar[str] = "link-not-measured"

    def __init__(self, device: str, *, made: str, lacking: str) -> None:
        super().__init__(
            f"the profile of `{device}` of {made} measured no {lacking}", device=device, made=made, lacking=lacking
        )


class InvalidProfileError(ConfigurationError):
    """A device was throttled while it was measured (exit 3)."""

    code: ClassVar[str] = "invalid-profile"

    def __init__(self, device: str, *, made: str, reasons: tuple[str, ...]) -> None:
        super().__init__(
            f"the profile of `{device}` of {made} is not valid: {'; '.join(reasons)}",
            device=device,
            made=made,
            reasons=list(reasons),
        )


def fleet_model(
    profile: Profile, host: HostModel, names: Sequence[str], *, accept_throttled: bool = False
) -> FleetModel:
    """What a plan is made with.

    Args:
        profile: Of the fleet.
        host: The host, which a profile does not measure.
        names: Devices, in the order of their homes.
        accept_throttled: Whether figures that were taken of a throttled device will do.

    Raises:
        NotInProfileError: If a device is not in the profile.
        NothingComputedError: If a device has no measured convolution.
        LinkNotMeasuredError: If a device's link was not measured.
        InvalidProfileError: If a device was throttled meanwhile, unless that is accepted.
    """
    devices = []
    for name in names:
        if name not in profile.devices:
            raise NotInProfileError(name, fleet=profile.fleet)
        measured = profile.devices[name]
        if measured.reasons and not accept_throttled:
            raise InvalidProfileError(name, made=measured.made, reasons=measured.reasons)
        devices.append(device_model(name, measured))
    return FleetModel(tuple(devices), host)


def device_model(name: str, measured: DeviceProfile) -> DeviceModel:
    """The model of one device; whether its profile is valid is not asked.

    Raises:
        NothingComputedError: If it has no measured convolution.
        LinkNotMeasuredError: If its link was not measured.
    """
    link = _checked_link(name, measured)
    send, receive = link_fit(link, "up").phase, link_fit(link, "down").phase
    compute = measured.compute
    if compute is None or not any(each.samples.seconds for each in compute.convolutions):
        raise NothingComputedError(name, made=measured.made)
    memory = measured.facts.get("memory_bytes")
    return DeviceModel(
        name=name,
        cells=cells(compute),
        send=send,
        receive=receive,
        rtt_s=median(link.rtt_s),
        task_s=compute.tasks.mean_s if compute.tasks is not None else TASK_S + first_row_s(compute),
        carrying=_carrying(compute, send.mean_s + receive.mean_s),
        steady_s=_steady_s(compute),
        rest_gain_s=compute.tasks.mean_s - compute.rested.mean_s if compute.tasks and compute.rested else 0.0,
        memory_bytes=memory if isinstance(memory, int) and not isinstance(memory, bool) and memory > 0 else None,
    )


def port_speeds(profile: Profile, devices: Sequence[DeviceModel]) -> tuple[float, float]:
    """Bytes per second that the host's port carries to and from all devices together.

    Where devices were only measured one by one, or together no quicker, as quick as the quickest of them.
    """
    up = [1 / device.send.mean_s for device in devices]
    down = [1 / device.receive.mean_s for device in devices]
    if profile.port is not None:
        up.append(profile.port.up.rate)
        down.append(profile.port.down.rate)
    return max(up), max(down)


def cells(compute: Compute) -> tuple[Cell, ...]:
    """The measured slices of a device, or of a host that was measured in the same way, with the device's spread."""
    measured = [each for each in compute.convolutions if each.samples.seconds]
    spread = compute_fit(compute).phase
    # Where an agent was asked, what a call costs is part of what was measured of its shares.
    first = first_row_s(compute) if compute.tasks is None else 0.0
    steady = [each for each in measured if not _in_bursts(each)] or measured
    usual = sum(sum(each.samples.seconds) for each in steady) / sum(_macs(each) for each in steady)
    stall = max((max(each.samples.seconds) for each in measured if _in_bursts(each)), default=0.0)
    found = []
    for each in measured:
        macs, spent = _macs(each), sum(each.samples.seconds)
        spent = max(spent - len(each.samples.seconds) * first, spent / 2)  # a slice cannot cost less than nothing
        if _in_bursts(each):
            # One stall more or less is chance: a cell of little more than one says little of its own.
            spent, macs = spent + stall, macs + stall / usual
        phase = spread.scaled(spent / macs)
        found.append(Cell(each.kernel, each.in_channels, each.out_channels, each.width, each.rows, phase))
    return tuple(found)


def at_speed(measured: Sequence[Cell], flops_per_s: float) -> tuple[Cell, ...]:
    """What a machine needs that is so fast over all slices together, and like the measured one in their proportions.

    No slice is computed as fast as the fastest: thin strips of many channels are slow on every machine. What is random
    goes into the mean.

    Args:
        measured: At least one.
        flops_per_s: Operations, a multiply-accumulate being two.
    """
    spent = math.fsum(each.phase.mean(each.macs) for each in measured)
    factor = _PER_MAC * sum(each.macs for each in measured) / spent / flops_per_s
    return tuple(replace(each, phase=Phase(each.phase.mean_s * factor, 0.0)) for each in measured)


def compute_fit(compute: Compute) -> Fit:
    """How a device's durations spread about their means, over all slices: a fit of mean 1.

    Its `phase` is the shift and the excess of a piece of work that takes a second on average.
    """
    ratios = compute_ratios(compute)
    found = fit_rates(ratios)
    return found if ratios else replace(found, phase=Phase(1.0, 0.0))


def compute_ratios(compute: Compute) -> list[float]:
    """Durations of blocks of repetitions by the mean of their slice; empty where nothing was repeated."""
    measured = [each for each in compute.convolutions if each.samples.seconds]
    measured = [each for each in measured if len(each.samples.seconds) >= MANY] or measured
    ratios = [ratio for each in measured for ratio in _ratios(_blocks(each.samples.seconds))]
    return ratios or [ratio for each in measured for ratio in _ratios(each.samples.seconds)]


def _carrying(compute: Compute, link_s: float) -> float:
    """What of the time of a byte to a device and one back is its processor's."""
    if compute.carrying is None:
        return 0.0
    return min(2 * compute.carrying.mean_s / compute.carrying.size / link_s, 1.0)


def _steady_s(compute: Compute) -> float:
    """How long the repetitions took of which the spread was taken; infinite where none was repeated often."""
    often = [_mean(each) for each in compute.convolutions if len(each.samples.seconds) >= MANY]
    return max(median(often), BLOCK_S) if often else math.inf


def link_fit(link: Link, direction: str) -> Fit:
    """Seconds per byte in the direction `up` (to the device) or `down`."""
    return fit_rates(link_seconds(link, direction))


def link_seconds(link: Link, direction: str) -> list[float]:
    """Seconds per byte of every transfer in a direction."""
    return [1 / rate for rate in link.rates("up" if direction == "up" else "down")]


def first_row_s(compute: Compute) -> float:
    """What a call costs before its first row: the median over layers that were measured at several heights.

    0 where fewer than three layers were, or only in bursts, or where it does not stand out from the noise of the
    means; never more than half of the shortest slice's mean.
    """
    layers: dict[tuple[int, int, int, int], list[Convolution]] = {}
    steady = [each for each in compute.convolutions if each.samples.seconds and not _in_bursts(each)]
    for each in steady:
        layers.setdefault((each.kernel, each.in_channels, each.out_channels, each.width), []).append(each)
    found = [_intercept(slices) for slices in layers.values() if len({each.rows for each in slices}) > 1]
    if len(found) < _FEWEST_LAYERS:
        return 0.0
    usual = median(value for value, _ in found)
    doubt = _MEDIAN_ERROR * math.sqrt(sum(error**2 for _, error in found)) / len(found)
    return min(usual, min(_mean(each) for each in steady) / 2) if usual > _STANDS_OUT * doubt else 0.0


def _checked_link(name: str, measured: DeviceProfile) -> Link:
    link = measured.link
    if link is None:
        raise LinkNotMeasuredError(name, made=measured.made, lacking="link")
    lacking = {
        "round trip": not link.rtt_s,
        "transfer to it": not link.rates("up"),
        "transfer from it": not link.rates("down"),
    }
    for what, is_lacking in lacking.items():
        if is_lacking:
            raise LinkNotMeasuredError(name, made=measured.made, lacking=what)
    return link


def _in_bursts(each: Convolution) -> bool:
    seconds = each.samples.seconds
    return len(seconds) > 1 and _mean(each) > BURST * min(seconds)


def _blocks(seconds: Sequence[float]) -> list[float]:
    """Means of repetitions in a row that take `BLOCK_S` together; a rest that does not is left out."""
    return [math.fsum(block) / len(block) for block in _joined(seconds)]


def _joined(seconds: Sequence[float]) -> Iterator[list[float]]:
    block: list[float] = []
    for each in seconds:
        block.append(each)
        if math.fsum(block) >= BLOCK_S:
            yield block
            block = []


def _ratios(values: Sequence[float]) -> list[float]:
    """Each by their mean; a single one says nothing of a spread."""
    mean = math.fsum(values) / len(values) if values else 0.0
    return [value / mean for value in values] if len(values) > 1 and mean > 0 else []


def _intercept(slices: Sequence[Convolution]) -> tuple[float, float]:
    """Where the line through the lowest and the highest slice of a layer meets no rows, and its standard error."""
    low, high = min(slices, key=lambda each: each.rows), max(slices, key=lambda each: each.rows)
    between = high.rows - low.rows
    value = (high.rows * _mean(low) - low.rows * _mean(high)) / between
    return value, math.hypot(high.rows * _error(low), low.rows * _error(high)) / between


def _error(each: Convolution) -> float:
    """Standard error of the mean; the mean itself where one repetition cannot tell."""
    seconds, mean = each.samples.seconds, _mean(each)
    if len(seconds) < 2:
        return mean
    return math.sqrt(math.fsum((one - mean) ** 2 for one in seconds) / (len(seconds) - 1) / len(seconds))


def _mean(each: Convolution) -> float:
    return math.fsum(each.samples.seconds) / len(each.samples.seconds)


def _macs(each: Convolution) -> float:
    """Multiply-accumulates of all repetitions."""
    return each.samples.size * len(each.samples.seconds) / _PER_MAC
