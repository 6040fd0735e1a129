"""The fleet that is planned for or simulated: from the fleet file and its profile, or assumed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.commands.simulate_fleet import (
    EMPIRICAL,
    GFLOPS,
    LATENCIES,
    MBIT,
    MOST_DEVICES,
    PASS_BYTES_PER_S,
    SHIFT_EXPONENTIAL,
    TASK_S,
)
from cocoi_cli.errors import ConfigurationError
from cocoi_cli.fleet.folders import cache_folder, profile_path
from cocoi_cli.fleet.inventory import load, locate, select
from cocoi_cli.model.inputs import UnreadableFileError, reason
from cocoi_cli.planning.assumed_fleet import assumed_fleet, assumed_host
from cocoi_cli.planning.fleet_fit import at_speed, device_model, port_speeds
from cocoi_cli.planning.fleet_model import Cell, FleetModel, HostModel
from cocoi_cli.planning.measured import as_measured
from cocoi_cli.planning.profile_file import BadProfileError, from_json
from cocoi_cli.runtime.host_speed import HostSpeed, host_speed
from cocoi_cli.runtime.options import BadOptionError
from cocoi_cli.views.lines import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.fleet.records import Inventory
    from cocoi_cli.planning.fleet_model import DeviceModel
    from cocoi_cli.planning.profile import Profile


class NoProfileError(ConfigurationError):
    """The fleet has not been measured."""

    code: ClassVar[str] = "no-profile"

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no profile `{path}`: the fleet has not been measured", path=path)


class OtherFleetProfileError(ConfigurationError):
    """The profile is of another fleet."""

    code: ClassVar[str] = "profile-other-fleet"

    def __init__(self, path: str, *, profile: str, fleet: str) -> None:
        super().__init__(
            f"profile `{path}` is of fleet `{profile}`, not of `{fleet}`", path=path, profile=profile, fleet=fleet
        )


class NothingMeasuredError(ConfigurationError):
    """The profile has no device that a plan can be made with; `causes` says why, by name."""

    code: ClassVar[str] = "nothing-measured"

    def __init__(self, path: str, causes: dict[str, str]) -> None:
        listed = "; ".join(causes.values()) or "the fleet has no device in use"
        super().__init__(f"profile `{path}` has no device to plan with: {listed}", path=path, causes=causes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What was typed about the fleet.

    Attributes:
        fleet: Fleet file, or None for the user's.
        profile: Profile, or None for the fleet's own.
        devices: How many devices to assume; None to use the fleet's.
        gflops: Of each assumed device.
        mbit: Of each assumed link.
        host_gflops: Of this machine, to assume it; None to measure it, or to take it for one of the assumed devices.
        latency: What simulated times of devices are drawn from; one of `LATENCIES`.
    """

    fleet: str | None = None
    profile: str | None = None
    devices: int | None = None
    gflops: float | None = None
    mbit: float | None = None
    host_gflops: float | None = None
    latency: str = SHIFT_EXPONENTIAL


@dataclass(frozen=True, slots=True)
class Modelled:
    """A fleet to plan for.

    Attributes:
        model: Its devices and this machine.
        fleet: Id of the fleet; empty for assumed devices.
        profile: When it was measured; empty likewise.
        about: What it is, in words.
        warnings: What a user should know about it.
    """

    model: FleetModel
    fleet: str
    profile: str
    about: str
    warnings: tuple[str, ...]


def modelled(source: Source) -> Modelled:
    """The fleet that a user means.

    Raises:
        BadOptionError: If options cannot be, or do not go together.
        NoFleetError, BadFleetFileError, NoDevicesError: As the fleet file is.
        NoProfileError, BadProfileError, OtherFleetProfileError, NothingMeasuredError: As the profile is.
    """
    _check(source)
    return _measured(source) if source.devices is None else _assumed(source, source.devices)


def profile_date(inventory: Inventory) -> str:
    """When the fleet was measured last, ISO 8601 in UTC; empty where it was not, or the profile cannot be read."""
    path = profile_path(inventory)
    try:
        return from_json(path.read_text("utf-8"), str(path)).made
    except (OSError, UnicodeDecodeError, BadProfileError):
        return ""


def _check(source: Source) -> None:
    for option, value in (("--gflops", source.gflops), ("--mbit", source.mbit), ("--host-gflops", source.host_gflops)):
        if value is not None and not 0 < value < 1e9:
            raise BadOptionError(option, f"{value:g}", "it must be above 0")
        if value is not None and source.devices is None and option != "--host-gflops":
            raise BadOptionError(option, f"{value:g}", "it describes assumed devices: `--devices` says how many")
    if source.latency not in LATENCIES:
        raise BadOptionError("--latency", source.latency, f"it is {' or '.join(f'`{each}`' for each in LATENCIES)}")
    if source.devices is None:
        return
    if source.latency == EMPIRICAL:
        raise BadOptionError("--latency", source.latency, "nothing was measured of devices that are assumed")
    if not 1 <= source.devices <= MOST_DEVICES:
        raise BadOptionError("--devices", source.devices, f"from 1 to {MOST_DEVICES} devices can be assumed")
    for option, name in (("--fleet", source.fleet), ("--profile", source.profile)):
        if name is not None:
            raise BadOptionError("--devices", source.devices, f"`{option} {name}` names devices that are there")


def _assumed(source: Source, devices: int) -> Modelled:
    gflops, mbit = source.gflops or GFLOPS, source.mbit or MBIT
    host_gflops, bytes_per_s = source.host_gflops or gflops, mbit * 1e6 / 8
    host = assumed_host(
        flops_per_s=host_gflops * 1e9, bytes_per_s=bytes_per_s, pass_bytes_per_s=PASS_BYTES_PER_S, task_s=TASK_S
    )
    fleet = assumed_fleet(devices, flops_per_s=gflops * 1e9, bytes_per_s=bytes_per_s, host=host)
    about = (
        f"{plural(devices, 'assumed device')} of {gflops:g} GFLOP/s, links of {mbit:g} Mbit/s;\n"
        f"this machine is taken for one of {host_gflops:g} GFLOP/s"
    )
    return Modelled(fleet, "", "", about, ())


def _measured(source: Source) -> Modelled:
    inventory = load(locate(source.fleet))
    devices = [device for device in select(inventory, ()) if not device.drained]
    path = str(profile_path(inventory) if source.profile is None else Path(source.profile).expanduser())
    profile = _read(path, inventory)
    models, causes, warnings = _models(profile, [device.name for device in devices], source.latency)
    if not models:
        raise NothingMeasuredError(path, causes)
    warnings += [f"{cause}; it is left out of the plan" for cause in causes.values()]
    model = FleetModel(tuple(models), _host(source, models[0].cells, *port_speeds(profile, models)))
    about = f"{plural(len(models), 'device')} of `{inventory.path}`, measured {profile.made}"
    return Modelled(model, inventory.id, profile.made, about, tuple(warnings))


def _read(path: str, inventory: Inventory) -> Profile:
    try:
        profile = from_json(Path(path).read_text("utf-8"), path)
    except FileNotFoundError as error:
        raise NoProfileError(path) from error
    except UnicodeDecodeError as error:
        raise BadProfileError(path, "", "it is no text") from error
    except OSError as error:
        raise UnreadableFileError(path, reason(error)) from error
    if profile.fleet != inventory.id:
        raise OtherFleetProfileError(path, profile=profile.fleet, fleet=inventory.id)
    return profile


def _models(
    profile: Profile, names: Sequence[str], latency: str
) -> tuple[list[DeviceModel], dict[str, str], list[str]]:
    """Models of the devices that were measured; of the others why not; and what is odd about the former."""
    models: list[DeviceModel] = []
    causes: dict[str, str] = {}
    warnings: list[str] = []
    for name in names:
        measured = profile.devices.get(name)
        if measured is None:
            causes[name] = f"`{name}` was not measured"
            continue
        try:
            model = device_model(name, measured)
            models.append(as_measured(model, measured) if latency == EMPIRICAL else model)
        except ConfigurationError as error:
            causes[name] = error.message
            continue
        if measured.reasons:
            warnings.append(f"`{name}` was not at its usual speed when it was measured: {'; '.join(measured.reasons)}")
        if measured.link is not None and measured.link.through == "ssh":
            warnings.append(f"the link of `{name}` was measured through ssh, which is slower than the link is")
    return models, causes, warnings


def _host(source: Source, cells: tuple[Cell, ...], nic_up: float, nic_down: float) -> HostModel:
    """This machine, measured; if another speed is asked for, it computes like a device of that speed."""
    speed: HostSpeed = host_speed(cache_folder() / "host-speed.json")
    if source.host_gflops is not None:
        speed = replace(speed, cells=at_speed(cells, source.host_gflops * 1e9))
    return speed.model(nic_up, nic_down)
