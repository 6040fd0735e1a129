"""Measuring a fleet's devices.

All devices at once, with two exceptions: the links are measured one after the other,
because they share the host's network port, and a device's own steps follow each other.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet import contact, probing, scripts, survey, throwaway, workloads
from cocoi_cli.fleet.errors import DeviceError, DroppedError
from cocoi_cli.fleet.facts_tree import condition
from cocoi_cli.fleet.findings import findings, shared_identities
from cocoi_cli.fleet.linking import ClockOffset
from cocoi_cli.planning.profile import Compute, Condition, Convolution, DeviceProfile, Samples
from cocoi_cli.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cocoi_cli.fleet.access import Access
    from cocoi_cli.fleet.facts import DeviceFacts
    from cocoi_cli.fleet.findings import Finding
    from cocoi_cli.fleet.probing import Measured
    from cocoi_cli.fleet.records import Device
    from cocoi_cli.fleet.remote import Remote

START_S: Final = 180.0  # beyond the budget: importing ONNX Runtime and the sessions, on the slowest device
_LARGEST: Final = 1 << 63
ENVIRONMENT_S: Final = 900.0  # beyond that: sending 40 MB over Wi-Fi and installing them


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to measure.

    Attributes:
        rounds: How often everything is gone over.
        full: Compute also where no agent is installed, in a temporary environment.
        budget_s: Seconds for computing, per device.
        offline: Fetch no wheels for that.
    """

    rounds: int = 3
    full: bool = False
    budget_s: float = 20.0
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Profiled:
    """One device.

    Attributes:
        profile: What was measured.
        facts: What it told before.
        findings: What is wrong with it.
        gaps: What could not be measured, and why; a sentence each.
    """

    profile: DeviceProfile
    facts: DeviceFacts
    findings: tuple[Finding, ...]
    gaps: tuple[str, ...]


async def profile(
    devices: Sequence[Device],
    access: Access,
    settings: Settings,
    *,
    made: str,
    on_stage: Callable[[str, str], None] | None = None,
) -> dict[str, Profiled | CocoiError]:
    """Measure devices; one that is down never holds up the others.

    Args:
        devices: With distinct names.
        access: How to log in.
        settings: What to measure.
        made: The date of the profile, ISO 8601.
        on_stage: Told what is being done on each device.
    """
    network = asyncio.Lock()
    keys: dict[str, str] = {}

    async def work(remote: Remote, device: Device) -> Profiled:
        keys[device.name] = remote.host_key
        return await _Measurement(remote, device, settings, network).run(made)

    results = await contact.each(devices, access, work, on_stage=on_stage)
    return _with_identities(results, keys)


class _Measurement:
    """The steps on one device."""

    def __init__(self, remote: Remote, device: Device, settings: Settings, network: asyncio.Lock) -> None:
        self._remote, self._device, self._settings, self._network = remote, device, settings, network
        self._gaps: list[str] = []
        self._during: list[Condition] = []

    async def run(self, made: str) -> Profiled:
        self._remote.begin("facts")
        facts = await survey.read_facts(self._remote, self._device)
        addresses = await survey.resolve(self._device)
        measured = await self._link(facts, addresses)
        compute = await self._compute(facts)
        self._remote.begin("facts")
        after = await survey.read_condition(self._remote, "after")
        clock = _better(ClockOffset(facts.clock_offset_s, facts.clock_uncertainty_s), measured.clock)
        found = DeviceProfile(
            made=made,
            machine_id=facts.machine_id,
            facts=described(facts, addresses),
            conditions=(facts.condition, *self._during, after),
            clock_offset_s=None if clock is None else clock.offset_s,
            clock_uncertainty_s=None if clock is None else clock.uncertainty_s,
            link=measured.link,
            compute=compute,
        )
        judged = findings(facts, self._device, addresses=addresses)
        return Profiled(found, facts, judged, tuple(self._gaps))

    async def _link(self, facts: DeviceFacts, addresses: Sequence[str]) -> Measured:
        own = [address for address in addresses if facts.owner([address]) is not None]
        address = next(iter([*own, *addresses]), self._device.address)
        if self._network.locked():
            self._remote.begin("waiting for the network")
        async with self._network:
            self._remote.begin("link")
            measured = await probing.measure(self._remote, address, self._settings.rounds, self._remote.begin)
        if measured.blocked:
            self._gaps.append(f"the link was measured through ssh: {measured.blocked}")
        return measured

    async def _compute(self, facts: DeviceFacts) -> Compute | None:
        installed = facts.install(self._device.install) or facts.install()
        if installed is None and not self._settings.full:
            self._gaps.append("nothing was computed: no agent is installed")
            return None
        self._remote.begin("compute")
        try:
            tree = await (self._temporary(facts) if installed is None else self._installed(installed.python))
        except DroppedError:
            raise
        except CocoiError as error:
            cause = error.cause if isinstance(error, DeviceError) else error.message
            self._gaps.append(f"nothing was computed: {cause}")
            return None
        try:
            computed = compute_record(tree)
        except ValueError as error:
            self._gaps.append(f"nothing was computed: {error}")
            return None
        told = tree.get("conditions")
        each_told = told if isinstance(told, list) else []
        self._during = [condition(each, "during") for each in each_told if isinstance(each, dict)]
        return computed

    async def _installed(self, python: str) -> scripts.Tree:
        body, payload = workloads.request(self._settings.budget_s, self._settings.rounds)
        return await self._remote.script(
            "compute",
            body,
            *workloads.HELPERS,
            payload=[payload],
            python=python,
            timeout_s=self._settings.budget_s + START_S,
            on_progress=self._remote.begin,
        )

    async def _temporary(self, facts: DeviceFacts) -> scripts.Tree:
        python, house = await throwaway.wheelhouse(
            self._remote, facts, offline=self._settings.offline, on_progress=self._remote.begin
        )
        body, payload = workloads.request(self._settings.budget_s, self._settings.rounds)
        source = scripts.pack("compute", body, *workloads.HELPERS) + payload
        timeout_s = self._settings.budget_s + START_S + ENVIRONMENT_S
        return await throwaway.run(
            self._remote, python, house, source, timeout_s=timeout_s, on_progress=self._remote.begin
        )


def compute_record(tree: Mapping[str, Any]) -> Compute:
    """Make the record of the result of `ondevice.compute`.

    Raises:
        ValueError: If it is none.
    """
    try:
        return Compute(
            runtime=one_line(str(tree["runtime"])),
            convolutions=tuple(_convolution(tuple(each["cell"]), each["seconds"]) for each in tree["convolutions"]),
            skipped=int(tree["skipped"]),
            passes={name: _samples(row["size"], row["seconds"]) for name, row in tree["passes"].items()},
            tls={name: _samples(row["size"], row["seconds"]) for name, row in tree["tls"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"what the device answers makes no sense ({type(error).__name__}: {error})") from error


def described(facts: DeviceFacts, addresses: Sequence[str]) -> dict[str, str | int | bool | None]:
    """What a profile keeps of the facts: what its figures depend on."""
    interface, python = facts.owner(addresses), facts.python()
    return {
        "model": facts.model,
        "cores": facts.cores,
        "processor": facts.processor,
        "memory_bytes": facts.memory_total,
        "architecture": facts.architecture,
        "os": facts.os,
        "kernel": facts.kernel,
        "python": None if python is None else python.text,
        "interface": None if interface is None else interface.name,
        "interface_kind": None if interface is None else interface.kind,
        "speed_mbit": None if interface is None else interface.speed_mbit,
        "power_save": None if interface is None else interface.power_save,
    }


def _better(told: ClockOffset, probed: ClockOffset | None) -> ClockOffset | None:
    """The narrower of two measurements of a clock; None if neither says anything."""
    narrow = told if probed is None or told.uncertainty_s <= probed.uncertainty_s else probed
    return narrow if math.isfinite(narrow.uncertainty_s) else None


def _convolution(cell: workloads.Cell, seconds: Sequence[float]) -> Convolution:
    kernel, in_channels, out_channels, width, rows = cell
    samples = _samples(workloads.flops(cell), seconds)
    return Convolution(kernel, in_channels, out_channels, width, rows, samples)


def _samples(size: object, seconds: Sequence[float]) -> Samples:
    """Raises `TypeError` or `ValueError` for what are no durations."""
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size < _LARGEST:
        raise ValueError(f"a size of {size!r:.40}")
    if not all(0 <= each < _LARGEST for each in seconds):
        raise ValueError("a duration that is none")
    return Samples(size, tuple(seconds))


def _with_identities(
    results: dict[str, Profiled | CocoiError], keys: Mapping[str, str]
) -> dict[str, Profiled | CocoiError]:
    """Add what only shows when devices are compared."""
    measured = {name: each for name, each in results.items() if isinstance(each, Profiled)}
    shared = shared_identities({name: (each.facts.machine_id, keys.get(name)) for name, each in measured.items()})
    return {
        name: replace(each, findings=(shared[name], *each.findings))
        if isinstance(each, Profiled) and name in shared
        else each
        for name, each in results.items()
    }
