"""Scenarios of the user's own, in TOML.

    [kitchen]
    text = "one device behind a wall, another dies in the middle"
    before = [{ word = "loss", devices = 1, arguments = ["2"] }]
    during = [{ word = "kill", devices = ["pi-3"], at = 0.5 }]

`devices` is a number, `"all"` (what an absent one means), or a list of names. `at` is a part of the
row's usual latency. Everything is checked here, so that a mistake does not end a benchmark in its third hour.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cocoi_cli.benchmark.errors import BadScenarioFileError
from cocoi_cli.benchmark.scenarios import GROUPS, SCENARIOS, SEED_PLACE, Scenario, Step
from cocoi_cli.model.inputs import NoSuchFileError, UnreadableFileError, reason
from cocoi_cli.planning.fields import Field, FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SCENARIO_KEYS: Final = frozenset({"text", "before", "during"})
_STEP_KEYS: Final = frozenset({"word", "devices", "arguments", "at"})


def read_scenarios(path: str) -> Mapping[str, Scenario]:
    """The scenarios of a file, by name.

    Raises:
        NoSuchFileError, UnreadableFileError: If it cannot be read.
        BadScenarioFileError: If it is not TOML, or a value is unfit.
    """
    try:
        tree: dict[str, Any] = tomllib.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError as error:
        raise NoSuchFileError(path) from error
    except OSError as error:
        raise UnreadableFileError(path, reason(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadScenarioFileError(path, f"not TOML: {error}") from error
    try:
        found = {name: _scenario(name, field) for name, field in Field(tree).members()}
    except FieldError as error:
        raise BadScenarioFileError(path, f"`{error.field}`: {error.cause}") from error
    if not found:
        raise BadScenarioFileError(path, "it has no scenario")
    return found


def _scenario(name: str, field: Field) -> Scenario:
    _only(field, name, _SCENARIO_KEYS)
    if name in GROUPS:
        raise FieldError(name, "the name stands for a group of scenarios")
    if name in SCENARIOS:
        raise FieldError(name, "a scenario has this name already")
    return Scenario(
        name=name,
        text=field.at("text").optional(Field.text) or name,
        before=_steps(field.at("before"), f"{name}.before", _STEP_KEYS - {"at"}),
        during=_steps(field.at("during"), f"{name}.during", _STEP_KEYS),
    )


def _steps(field: Field, place: str, keys: frozenset[str]) -> tuple[Step, ...]:
    items = field.optional(Field.items) or []
    return tuple(_step(item, f"{place}[{index}]", keys) for index, item in enumerate(items))


def _step(field: Field, place: str, keys: frozenset[str]) -> Step:
    _only(field, place, keys)
    word = field.at("word").one_of(*_ARGUMENTS)
    arguments = tuple(_argument(item) for item in field.at("arguments").optional(Field.items) or [])
    wanted = _ARGUMENTS[word](arguments)
    if wanted:
        raise FieldError(f"{place}.arguments", f"found {' '.join(arguments) or 'none'}, expected {wanted}")
    at = field.at("at").optional(Field.number)
    if at is not None and not 0 <= at <= 1:
        raise FieldError(f"{place}.at", f"found {at:g}, expected a part from 0 to 1")
    return Step(word, _devices(field.at("devices")), arguments, at)


def _argument(field: Field) -> str:
    try:
        return f"{field.number():g}"
    except FieldError:
        return field.text()


def _devices(field: Field) -> int | tuple[str, ...] | None:
    """A number, names, or None for all."""
    for read in (_everyone, _names, Field.positive):
        try:
            return read(field)
        except FieldError:
            continue
    field.one_of("a number above zero", "all", "a list of names")
    return None


def _everyone(field: Field) -> None:
    field.optional(lambda each: each.one_of("all"))


def _names(field: Field) -> tuple[str, ...]:
    return tuple(item.text() for item in field.items())


def _only(field: Field, place: str, known: frozenset[str]) -> None:
    for key, _ in field.members():
        if key not in known:
            listed = ", ".join(f"`{each}`" for each in sorted(known))
            raise FieldError(f"{place}.{key}", f"no such key; known are {listed}")


def _none(arguments: tuple[str, ...]) -> str:
    return "" if not arguments else "none"


def _number(low: float, high: float, what: str) -> Callable[[tuple[str, ...]], str]:
    def check(arguments: tuple[str, ...]) -> str:
        return "" if len(arguments) == 1 and _within(arguments[0], low, high) else what

    return check


def _delay(arguments: tuple[str, ...]) -> str:
    match arguments:
        case ("exp", mean) if _within(mean, 0, 1000):
            return ""
        case ("exp", mean, seed) if _within(mean, 0, 1000) and _is_seed(seed):
            return ""
        case ("trace", seed) if _is_seed(seed):
            return ""
        case _:
            return "`exp MEAN` or `trace SEED`"


def _lie(arguments: tuple[str, ...]) -> str:
    return "" if arguments == ("flip",) else _number(0, 1, "a part from 0 to 1, or `flip`")(arguments)


def _is_seed(text: str) -> bool:
    return text == SEED_PLACE or text.isdecimal()


def _within(text: str, low: float, high: float) -> bool:
    try:
        return low <= float(text) <= high
    except ValueError:
        return False


# Word of the faults script to what is wrong with its arguments; empty where nothing is.
_ARGUMENTS: Final[Mapping[str, Callable[[tuple[str, ...]], str]]] = {
    "slow": _number(1, 1000, "a factor from 1 to 1000"),
    "freeze": _none,
    "kill": _none,
    "cut": _none,
    "loss": _number(0, 100, "a percentage from 0 to 100"),
    "delay": _delay,
    "lie": _lie,
}
