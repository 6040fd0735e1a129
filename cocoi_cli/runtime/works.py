"""What is needed of a distributed stage in flight, whatever is inside.

The coordinator drives a `Work`: it has its shares computed and hands it the answers. A `DistributedStage` is work that
ends in the output of a stage: `work.StageWork` codes strips of one convolution, `tile_work.TileWork` has tiles of a
segment computed, `filter_work.FilterWork` codes filters too. `verifying.Checking` is work without an output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.codes.code import Array, Code
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.report import AnyArray


@dataclass(slots=True)
class Counts:
    """What happened in a stage; the fields are those of `StageReport`."""

    arrived: int = 0
    late: int = 0
    lost: int = 0
    host: int = 0
    decoded: int = 0
    gain: float = 1.0
    bytes_out: int = 0
    bytes_in: int = 0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One share as it is sent.

    Attributes:
        x: C-contiguous float16 or float32, never written again until it was answered.
        scale: Power of two; the share's value is `x * scale`.
        variant: Index into the stage's programs.
        axis: The axis that was cut.
        reply: What the answer travels as, `f16` or `f32`.
    """

    x: AnyArray
    scale: float
    variant: int
    axis: int
    reply: str


class Work(Protocol):
    """Codewords whose shares others compute; belongs to one thread, except for `convolve`."""

    @property
    def name(self) -> str:
        """Of the stage."""
        ...

    @property
    def strips(self) -> int:
        """Number of codewords."""
        ...

    @property
    def counts(self) -> Counts:
        """What happened so far; late answers may still be counted when the stage has ended."""
        ...

    def share(self, strip: int, share: int) -> Outgoing:
        """Encode one share for sending."""
        ...

    def fits(self, strip: int, share: int, answer: AnyArray) -> bool:
        """Whether an answer has the shape that this share asks for."""
        ...

    def accept(self, strip: int, share: int, answer: AnyArray, scale: float) -> None:
        """Take an answer that fits; its value is `answer * scale`."""
        ...

    def has(self, strip: int, share: int) -> bool:
        """Whether an answer to this share is no longer wanted: it is here, or the strip is decoded."""
        ...

    def decode(self, strip: int, shares: Sequence[int], kernels: Kernels) -> bool:
        """Finish a strip from exactly these shares; return whether anything had to be decoded."""
        ...

    def convolve(self, kernels: Kernels, strip: int, shares: Sequence[int]) -> list[AnyArray]:
        """Compute shares on the host, in float32; only reads, so a thread may run it."""
        ...


class DistributedStage(Work, Protocol):
    """The arrays of one stage of one inference; belongs to one thread, except for `convolve` and `whole`."""

    @property
    def kind(self) -> str:
        """`conv` or `fused`."""
        ...

    @property
    def scheme(self) -> str:
        """The code family in use."""
        ...

    @property
    def n(self) -> int:
        """Homes per codeword, the host's included."""
        ...

    @property
    def k(self) -> int:
        """As the plan has it."""
        ...

    @property
    def reason(self) -> str:
        """Why the stage is computed so, in the planner's words."""
        ...

    @property
    def code(self) -> Code:
        """Of every codeword."""
        ...

    @property
    def rounding(self) -> str:
        """The coarser of the types that shares and answers travel as, `f16` or `f32`."""
        ...

    @property
    def magnitude(self) -> float:
        """About the size of an answer if the input were noise, for judging answers to flat inputs; 0 where copies."""
        ...

    @property
    def is_sendable(self) -> bool:
        """Whether the input can be cut and sent to agents; else the host computes the stage whole."""
        ...

    def arranged(self, answers: Array) -> Array:
        """Answers, stacked as they came, in the form in which the code takes them."""
        ...

    def whole(self, kernels: Kernels) -> AnyArray:
        """The output of the stage computed on the host in one piece, nothing mixed; a thread may run it."""
        ...

    def hand_over(self) -> AnyArray:
        """The output once every strip is decoded: float32, a block of the coordinator's `Blocks` from now on."""
        ...
