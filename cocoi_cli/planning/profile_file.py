"""`profile.json`: the profile as text and back. Pure.

Reading checks everything that a plan relies on and names the field that is unfit; keys
that this version does not know are ignored.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from cocoi_cli.errors import ConfigurationError
from cocoi_cli.planning.fields import Field, FieldError
from cocoi_cli.planning.profile import (
    SCHEMA,
    Compute,
    Condition,
    Convolution,
    DeviceProfile,
    Link,
    Port,
    Profile,
    Round,
    Samples,
    quantiles,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

KIND: Final = "cocoi-profile"
_DIGITS: Final = 7  # of seconds after the point: below what any clock here resolves


class BadProfileError(ConfigurationError):
    """A file is no profile that this version can read; `field` is empty where the whole is unfit."""

    code: ClassVar[str] = "bad-profile"

    def __init__(self, source: str, field: str, cause: str) -> None:
        where = f"`{source}`: `{field}`" if field else f"`{source}`"
        super().__init__(f"{where}: {cause}", path=source, field=field, cause=cause)
        self.field = field


def to_json(profile: Profile) -> str:
    """The text of `profile.json`; ends with a newline."""
    document = {
        "kind": KIND,
        "schema": SCHEMA,
        "fleet": profile.fleet,
        "made": profile.made,
        "cocoi": profile.cocoi,
        "port": None if profile.port is None else _port(profile.port),
        "devices": {name: _device(device) for name, device in profile.devices.items()},
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str, source: str) -> Profile:
    """Read the text of a `profile.json`.

    Args:
        text: What the file holds.
        source: Its name, for errors.

    Raises:
        BadProfileError: If it is no profile, of another schema, or a field is unfit.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadProfileError(source, "", f"it is no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise BadProfileError(source, "kind", f"a profile has `{KIND}` here")
    if document.get("schema") != SCHEMA:
        found = document.get("schema")
        raise BadProfileError(source, "schema", f"{found!r} is not the version that is read here, {SCHEMA}")
    try:
        return _read(Field(document))
    except FieldError as error:
        raise BadProfileError(source, error.field, error.cause) from error


def _port(port: Port) -> dict[str, Any]:
    return {"devices": port.devices, "up": _samples(port.up), "down": _samples(port.down)}


def _device(device: DeviceProfile) -> dict[str, Any]:
    return {
        "made": device.made,
        "machine_id": device.machine_id,
        "facts": dict(device.facts),
        "valid": device.valid,
        "reasons": list(device.reasons),
        "conditions": [_condition(each) for each in device.conditions],
        "clock_offset_s": device.clock_offset_s,
        "clock_uncertainty_s": device.clock_uncertainty_s,
        "link": None if device.link is None else _link(device.link),
        "compute": None if device.compute is None else _compute(device.compute),
    }


def _condition(condition: Condition) -> dict[str, Any]:
    return {
        "when": condition.when,
        "temperature_c": condition.temperature_c,
        "throttled": list(condition.throttled),
        "since_boot": None if condition.since_boot is None else list(condition.since_boot),
        "governor": condition.governor,
        "frequency_hz": condition.frequency_hz,
    }


def _link(link: Link) -> dict[str, Any]:
    return {
        "through": link.through,
        # For people and other programs; what is read back are the samples.
        "summary": {
            "rtt_s": _rounded(quantiles(link.rtt_s)),
            "up_bytes_per_s": _whole(quantiles(link.rates("up"))),
            "down_bytes_per_s": _whole(quantiles(link.rates("down"))),
        },
        "rounds": [
            {"rtt_s": _seconds(each.rtt_s), "up": _samples(each.up), "down": _samples(each.down)}
            for each in link.rounds
        ],
    }


def _compute(compute: Compute) -> dict[str, Any]:
    return {
        "runtime": compute.runtime,
        "flops_per_s": round(compute.flops_per_s),
        "convolutions": [
            {
                "kernel": each.kernel,
                "in_channels": each.in_channels,
                "out_channels": each.out_channels,
                "width": each.width,
                "rows": each.rows,
                **_samples(each.samples),
            }
            for each in compute.convolutions
        ],
        "skipped": compute.skipped,
        "passes": {name: _samples(each) for name, each in compute.passes.items()},
        "tls": {name: _samples(each) for name, each in compute.tls.items()},
        "tasks": None if compute.tasks is None else _samples(compute.tasks),
        "rested": None if compute.rested is None else _samples(compute.rested),
        "carrying": None if compute.carrying is None else _samples(compute.carrying),
    }


def _samples(samples: Samples) -> dict[str, Any]:
    return {"size": samples.size, "seconds": _seconds(samples.seconds)}


def _seconds(values: Sequence[float]) -> list[float]:
    return [round(value, _DIGITS) or 10**-_DIGITS for value in values]


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, _DIGITS) for name, value in values.items()}


def _whole(values: dict[str, float]) -> dict[str, int]:
    return {name: round(value) for name, value in values.items()}


def _read(field: Field) -> Profile:
    return Profile(
        fleet=field.at("fleet").text(),
        made=field.at("made").text(),
        cocoi=field.at("cocoi").text(),
        devices={name: _read_device(each) for name, each in field.at("devices").members()},
        port=field.at("port").optional(_read_port),
    )


def _read_port(field: Field) -> Port:
    return Port(field.at("devices").positive(), _read_samples(field.at("up")), _read_samples(field.at("down")))


def _read_device(field: Field) -> DeviceProfile:
    link, compute = field.at("link"), field.at("compute")
    return DeviceProfile(
        made=field.at("made").text(),
        machine_id=field.at("machine_id").optional(Field.text),
        facts={name: each.optional(Field.plain) for name, each in field.at("facts").members()},
        conditions=tuple(_read_condition(each) for each in field.at("conditions").items()),
        clock_offset_s=field.at("clock_offset_s").optional(Field.number),
        clock_uncertainty_s=field.at("clock_uncertainty_s").optional(Field.number),
        link=link.optional(_read_link),
        compute=compute.optional(_read_compute),
    )


def _read_condition(field: Field) -> Condition:
    return Condition(
        when=field.at("when").one_of("before", "during", "after"),
        temperature_c=field.at("temperature_c").optional(Field.number),
        throttled=tuple(each.text() for each in field.at("throttled").items()),
        since_boot=field.at("since_boot").optional(lambda listed: tuple(each.text() for each in listed.items())),
        governor=field.at("governor").optional(Field.text),
        frequency_hz=field.at("frequency_hz").optional(Field.count),
    )


def _read_link(field: Field) -> Link:
    rounds = tuple(
        Round(_durations(each.at("rtt_s")), _read_samples(each.at("up")), _read_samples(each.at("down")))
        for each in field.at("rounds").items()
    )
    return Link(field.at("through").one_of("direct", "ssh"), rounds)


def _read_compute(field: Field) -> Compute:
    return Compute(
        runtime=field.at("runtime").text(),
        convolutions=tuple(_read_convolution(each) for each in field.at("convolutions").items()),
        skipped=field.at("skipped").count(),
        passes={name: _read_samples(each) for name, each in field.at("passes").members()},
        tls={name: _read_samples(each) for name, each in field.at("tls").members()},
        tasks=field.at("tasks").optional(_read_samples),
        rested=field.at("rested").optional(_read_samples),
        carrying=field.at("carrying").optional(_read_samples),
    )


def _read_convolution(field: Field) -> Convolution:
    return Convolution(
        kernel=field.at("kernel").positive(),
        in_channels=field.at("in_channels").positive(),
        out_channels=field.at("out_channels").positive(),
        width=field.at("width").positive(),
        rows=field.at("rows").positive(),
        samples=_read_samples(field),
    )


def _read_samples(field: Field) -> Samples:
    return Samples(field.at("size").positive(), _durations(field.at("seconds")))


def _durations(field: Field) -> tuple[float, ...]:
    return tuple(each.duration() for each in field.items())
