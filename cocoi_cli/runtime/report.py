"""What one inference leaves behind: records for views, JSON and library users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

AnyArray = NDArray[Any]


@dataclass(frozen=True, slots=True)
class StageReport:
    """One row of the stage table.

    Attributes:
        name: Stage name.
        kind: `local` or `conv`.
        scheme: `local` or the code family that was used.
        n, k: Parameters of the code; 0 for local stages.
        strips: Codewords of the stage; 0 for local stages.
        reason: Why it ran there, in the planner's words.
        wall_s: Seconds from start to end.
        arrived: Answers that were used.
        late: Answers that came after their strip was decoded, or were given up.
        lost: Shares whose agent was lost or reported an error.
        host: Shares that the host computed because agents could not.
        decoded: Strips in which a missing piece was decoded.
        gain: Largest noise gain of a decoding in the stage (1.0 where none).
        bytes_out: Tensor bytes sent to agents.
        bytes_in: Tensor bytes received from agents.
    """

    name: str
    kind: str
    scheme: str
    n: int
    k: int
    strips: int
    reason: str
    wall_s: float
    arrived: int
    late: int
    lost: int
    host: int
    decoded: int
    gain: float
    bytes_out: int
    bytes_in: int


@dataclass(frozen=True, slots=True)
class AgentReport:
    """One agent's part in an inference.

    Attributes:
        id: Name in the fleet (`agent-1`, ...).
        state: `up`, `lost` or `killed` at the end of the inference; `down` or `drained` where it took no part.
        used: Answers that were used.
        late: Answers that came too late.
        cancelled: Shares that were skipped or cancelled before they were computed.
        failed: Shares that the agent answered with an error.
        bytes_out: Tensor bytes sent to it.
        bytes_in: Tensor bytes received from it.
        reason: Why it is not `up`; empty where it is.
    """

    id: str
    state: str
    used: int
    late: int
    cancelled: int
    failed: int
    bytes_out: int
    bytes_in: int
    reason: str = ""

    @property
    def took_part(self) -> bool:
        """Whether it was up when the inference began."""
        return self.state in {"up", "lost", "killed"}


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Comparison with plain ONNX Runtime on the unmodified model.

    Attributes:
        max_rel_error: Largest over the outputs of max |difference| / max |reference|
            (for integer outputs: the fraction of unequal elements).
        tolerance: What was allowed for the worst output.
        top1_equal: Same largest class in each batch row of each classifier-like output (rank 2, or trailing axes of
            size 1); None where there is none.
        passed: Whether every output is within its tolerance.
        per_output: Output name to its figure.
    """

    max_rel_error: float
    tolerance: float
    top1_equal: bool | None
    passed: bool
    per_output: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Span:
    """One bar of the timeline.

    Attributes:
        track: `host` or an agent's id.
        name: `encode`, `send`, `queue`, `run`, `return`, `decode`, `local`, `stage`.
        start_s, end_s: Host-monotonic seconds since the start of the inference.
        args: Stage, strip, share, bytes, outcome (`used`, `late`, `cancelled`, ...).
    """

    track: str
    name: str
    start_s: float
    end_s: float
    args: Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Trace:
    """A timeline: spans, and per agent the uncertainty of its clock offset in seconds."""

    spans: tuple[Span, ...]
    clock_uncertainty_s: Mapping[str, float]


def cut_word(kind: str, scheme: str) -> str:
    """What a stage of this kind and scheme is cut into: `tile` where each is whole in itself, else `strip`."""
    return "tile" if kind == "fused" or scheme == "hedged" else "strip"


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of checking one inference.

    Attributes:
        codewords: That were checked: every answer that was used had a spare one to stand against.
        unchecked: That were not: there was none, or none in time.
        inconsistent: Whose answers contradict each other.
        suspects: Agent to the number of codewords in which it stands against the others.
        seconds: That it took, after the answer.
        distrusted: Agents that stood against the others when the inference was run before this; it was run without.
        cuts: What those codewords are of the stages that were looked at: `strip`, `tile`, or both words.
    """

    codewords: int
    unchecked: int
    inconsistent: int
    suspects: Mapping[str, int]
    seconds: float
    distrusted: tuple[str, ...] = ()
    cuts: tuple[str, ...] = ("strip",)

    def counted(self, count: int) -> str:
        """So many codewords by the words for them: `9 strips`, `1 tile`, `3 strips or tiles`."""
        words = " or ".join(word if count == 1 else f"{word}s" for word in self.cuts)
        return f"{count} {words}"

    @property
    def passed(self) -> bool:
        """Whether nothing contradicts anything."""
        return self.inconsistent == 0

    @property
    def liar(self) -> str | None:
        """The agent that most contradictions point to; None where none does."""
        return max(self.suspects, key=lambda agent: self.suspects[agent]) if self.suspects else None


@dataclass(frozen=True, slots=True)
class InferenceReport:
    """Everything that one inference produced.

    Attributes:
        model: Name of the model.
        input: What was read, as the user named it.
        outputs: Output name to array, exactly as ONNX Runtime would return it.
        latency_s: Seconds from the tensor to the last output.
        baseline_s: Seconds of plain ONNX Runtime on the host for the same tensor (best of the runs made).
        stages: One row per stage.
        agents: One row per agent of the fleet.
        warnings: What a user should know, one sentence each.
        check: Comparison with plain ONNX Runtime, if asked for.
        trace: Timeline, if asked for.
        verification: What came of checking the agents against each other, if asked for.
    """

    model: str
    input: str
    outputs: Mapping[str, AnyArray]
    latency_s: float
    baseline_s: float
    stages: tuple[StageReport, ...]
    agents: tuple[AgentReport, ...]
    warnings: tuple[str, ...]
    check: CheckReport | None
    trace: Trace | None
    verification: Verification | None = None


def float_output(array: AnyArray) -> bool:
    """Whether differences of this output are measured relative to its largest value."""
    return bool(np.issubdtype(array.dtype, np.floating))
