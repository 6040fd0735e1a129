"""What can be wrong with a benchmark, as facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.errors import ConfigurationError, FleetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class UnknownRowError(UsageError):
    """A row of the benchmark was asked for that there is not."""

    code: ClassVar[str] = "unknown-row"

    def __init__(self, row: str, known: Sequence[str]) -> None:
        super().__init__(f"no scheme `{row}` to benchmark; known are {_listed(known)}", row=row, known=list(known))


class NothingToMeasureError(UsageError):
    """None of the rows that were asked for can run; `causes` says why, by name."""

    code: ClassVar[str] = "nothing-to-measure"

    def __init__(self, causes: Mapping[str, str]) -> None:
        listed = "; ".join(f"`{row}`: {cause}" for row, cause in causes.items())
        super().__init__(f"no scheme can be measured: {listed}", causes=dict(causes))


class UnknownScenarioError(UsageError):
    """A scenario was asked for that neither cocoi nor the scenario file has."""

    code: ClassVar[str] = "unknown-scenario"

    def __init__(self, scenario: str, known: Sequence[str]) -> None:
        super().__init__(f"no scenario `{scenario}`; known are {_listed(known)}", scenario=scenario, known=list(known))


class BadScenarioFileError(ConfigurationError):
    """A scenario file is not TOML, or says something that cannot be done."""

    code: ClassVar[str] = "bad-scenario-file"

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(f"scenario file `{path}`: {cause}", path=path, cause=cause)


class ScenarioTooLargeError(UsageError):
    """A scenario hits more devices than there are, or would leave none."""

    code: ClassVar[str] = "scenario-too-large"

    def __init__(self, scenario: str, hit: int, devices: int) -> None:
        super().__init__(
            f"scenario `{scenario}` hits {hit} devices, and the fleet has {devices}: one must stay well",
            scenario=scenario,
            hit=hit,
            devices=devices,
        )


class UnknownDeviceError(UsageError):
    """A scenario names a device that the faults script does not know."""

    code: ClassVar[str] = "unknown-fault-device"

    def __init__(self, scenario: str, device: str, known: Sequence[str]) -> None:
        super().__init__(
            f"scenario `{scenario}` names device `{device}`; the faults script knows {_listed(known)}",
            scenario=scenario,
            device=device,
            known=list(known),
        )


class NoFaultsError(UsageError):
    """A scenario needs faults, and nothing can inject them."""

    code: ClassVar[str] = "no-faults"

    def __init__(self, scenario: str, words: Iterable[str], able: str) -> None:
        needed = sorted(words)
        super().__init__(f"scenario `{scenario}` needs {_listed(needed)}, and {able}", scenario=scenario, words=needed)


class FaultsFailedError(FleetError):
    """The faults script failed, hung or cannot be run."""

    code: ClassVar[str] = "faults-failed"

    def __init__(self, script: str, call: Sequence[str], cause: str) -> None:
        typed = " ".join((script, *call))
        super().__init__(f"`{typed}`: {cause}", script=script, call=list(call), cause=cause)


class AgentsStayAwayError(FleetError):
    """Agents did not come back after a fault was undone."""

    code: ClassVar[str] = "agents-stay-away"

    def __init__(self, agents: Sequence[str], waited_s: float) -> None:
        super().__init__(
            f"{_listed(agents)} did not answer within {waited_s:.0f} s after the faults were undone",
            agents=list(agents),
            waited_s=waited_s,
        )


class DaskError(FleetError):
    """dask's scheduler or workers did not start, or cannot be reached."""

    code: ClassVar[str] = "dask-failed"

    def __init__(self, where: str, cause: str) -> None:
        super().__init__(f"dask.distributed {where}: {cause}", where=where, cause=cause)


class BadResultsError(ConfigurationError):
    """A file of results to go on with is unreadable, or of another benchmark."""

    code: ClassVar[str] = "bad-results"

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(f"results `{path}`: {cause}", path=path, cause=cause)


class UnfinishedResultsError(UsageError):
    """The file that results go to holds those of a benchmark that was interrupted."""

    code: ClassVar[str] = "unfinished-results"

    def __init__(self, path: str) -> None:
        super().__init__(f"`{path}` holds a benchmark that was interrupted", path=path)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
