"""What a caller may choose for an inference, and how it may watch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from cocoi_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.report import StageReport


MOST_TOLERANCE: Final = 0.1  # what is further off is another answer


class BadOptionError(UsageError):
    """An option has a value that it cannot have."""

    code: ClassVar[str] = "bad-option"

    def __init__(self, option: str, value: object, rule: str) -> None:
        typed = f"{option} {value}".rstrip()  # some options have no value
        super().__init__(f"`{typed}`: {rule}", option=option, value=value, rule=rule)


def check_tolerance(option: str, value: float | None) -> None:
    """Refuse what no answer can keep to, and what allows any.

    Raises:
        BadOptionError: If a value is given that is not above 0 and up to 0.1.
    """
    if value is not None and not 0.0 < value <= MOST_TOLERANCE:
        raise BadOptionError(option, f"{value:g}", f"a tolerance is above 0, and {MOST_TOLERANCE} at most")


@dataclass(frozen=True, slots=True)
class PlanOrigin:
    """Where a plan comes from, and what it was made for.

    Attributes:
        source: Name of the file.
        text: What it says, to find lines in.
        inputs: Input name to the shape that was planned for.
    """

    source: str
    text: str
    inputs: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How an inference is to be run; the same words as on the command line.

    Attributes:
        n: Shares per codeword; None for all living agents.
        k: Answers that suffice; None for what the scheme suggests (`coded`: n - 2, below five n - 1).
        scheme: `auto`, `local`, or the name of a code family.
        transport: `f16` or `f32`.
        plan: What to do in every detail; None to have it decided by `scheme`. With a plan `n`, `k`, `scheme`,
            `transport`, `strips` and `host` say nothing.
        origin: Where the plan was read from, for complaints; None where it was not.
        strips: Strips per piece in every layer; None for what suits each.
        host: Whether the host may take shares, where the planner decides.
        device: Agent that computes the whole unmodified model by itself; empty for the plan's way.
        forget: Whether to remember nothing of earlier inferences: neither slow nor busy agents.
        compare: Whether plain ONNX Runtime runs too, so that every answer is compared; otherwise only the first
            of a model at a size is, and its baseline stands beside the later ones.
        verify: Answers beyond those needed that are asked for afterwards and must agree; 0 for none.
        tolerance: How far float outputs may be from plain ONNX Runtime, largest difference over largest value; None
            for what goes with the transport.
        deadline_s: Seconds after which agents are waited for no longer.
        fallback: Whether the host may compute what agents cannot.
        check: Whether to compare with plain ONNX Runtime.
        trace: Whether to collect a timeline.
        kill: Embedded agents to kill, once, after the first strip of the middle distributed stage.

    Raises:
        BadOptionError: If `deadline_s` is not above 0, `tolerance` not above 0 and up to 0.1, `strips` below 1, or
            `kill` or `verify` below 0.
    """

    n: int | None = None
    k: int | None = None
    scheme: str = "coded"
    transport: str = "f16"
    plan: Plan | None = None
    origin: PlanOrigin | None = None
    strips: int | None = None
    host: bool = True
    device: str = ""
    forget: bool = False
    compare: bool = True
    verify: int = 0
    tolerance: float | None = None
    deadline_s: float = 60.0
    fallback: bool = True
    check: bool = False
    trace: bool = False
    kill: int = 0

    def __post_init__(self) -> None:
        """Refuse what could only fail later."""
        if not (math.isfinite(self.deadline_s) and self.deadline_s > 0):
            raise BadOptionError("deadline_s", f"{self.deadline_s:g}", "seconds must be above 0")
        check_tolerance("tolerance", self.tolerance)
        if self.kill < 0:
            raise BadOptionError("kill", self.kill, "the number of agents cannot be below 0")
        if self.verify < 0:
            raise BadOptionError("verify", self.verify, "the number of answers cannot be below 0")
        if self.strips is not None and self.strips < 1:
            raise BadOptionError("strips", self.strips, "a piece has at least one strip")


class Progress(Protocol):
    """Who watches; every method is called from the event loop's thread."""

    def fleet_ready(self, agents: int) -> None:
        """So many agents answer."""

    def planned(self, plan: Plan, stages: Sequence[str]) -> None:
        """What will run where; `stages` are their names in order."""

    def stage_started(self, index: int, name: str, kind: str, strips: int) -> None:
        """A stage begins."""

    def strip_done(self, index: int, done: int, strips: int) -> None:
        """A strip of a conv stage has been decoded."""

    def stage_done(self, index: int, report: StageReport) -> None:
        """A stage has ended; late answers may still be added to its report."""

    def warning(self, text: str) -> None:
        """Something a user should know."""
