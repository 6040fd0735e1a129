"""What can be wrong with a plan file, as facts: `line` is where, from 1, or 0 where no single line is at fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence


class PlanFileError(ConfigurationError):
    """A plan file is unfit (exit 3)."""

    code: ClassVar[str] = "bad-plan"


class MalformedPlanError(PlanFileError):
    """It is neither TOML nor JSON, or no plan of this version."""

    code: ClassVar[str] = "malformed-plan"

    def __init__(self, source: str, line: int, cause: str) -> None:
        super().__init__(f"{_where(source, line)}: {cause}", path=source, line=line, cause=cause)


class UnknownPlanFieldError(PlanFileError):
    """It has a field that no plan has; most likely it is misspelt."""

    code: ClassVar[str] = "unknown-plan-field"

    def __init__(self, source: str, line: int, field: str, closest: Sequence[str]) -> None:
        listed = f" (closest: {', '.join(f'`{each}`' for each in closest)})" if closest else ""
        super().__init__(
            f"{_where(source, line)}: no plan has a field `{field}`{listed}",
            path=source,
            line=line,
            field=field,
            closest=list(closest),
        )


class BadPlanValueError(PlanFileError):
    """A value cannot be: of the wrong kind, n below k, a scheme or layer that does not exist."""

    code: ClassVar[str] = "bad-plan-value"

    def __init__(self, source: str, line: int, field: str, cause: str) -> None:
        where = f"{_where(source, line)}: `{field}`" if field else _where(source, line)
        super().__init__(f"{where}: {cause}", path=source, line=line, field=field, cause=cause)
        self.field = field
        self.cause = cause


class OtherModelError(PlanFileError):
    """The plan was made for another model, or for inputs of other sizes."""

    code: ClassVar[str] = "plan-other-model"

    def __init__(self, source: str, *, planned: str, found: str, cause: str) -> None:
        super().__init__(
            f"`{source}` is a plan for model `{planned}`, not for `{found}`: {cause}"
            if planned != found
            else f"`{source}` is a plan for another model `{planned}`: {cause}",
            path=source,
            planned=planned,
            model=found,
            cause=cause,
        )


class OtherFleetPlanError(PlanFileError):
    """The plan was made for another fleet."""

    code: ClassVar[str] = "plan-other-fleet"

    def __init__(self, source: str, *, planned: str, found: str) -> None:
        super().__init__(
            f"`{source}` is a plan for fleet `{planned}`, not for `{found}`", path=source, planned=planned, fleet=found
        )


class StalePlanError(PlanFileError):
    """What the plan was made from has changed since: the profile is newer, or devices have left the fleet."""

    code: ClassVar[str] = "stale-plan"

    def __init__(self, source: str, *, made: str, cause: str, devices: Sequence[str] = ()) -> None:
        super().__init__(
            f"`{source}` is out of date, it was made {made}: {cause}",
            path=source,
            made=made,
            cause=cause,
            devices=list(devices),
        )


def _where(source: str, line: int) -> str:
    return f"`{source}:{line}`" if line else f"`{source}`"
