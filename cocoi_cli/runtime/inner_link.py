"""An agent inside the host: for rehearsals, and for tests and studies of the coordinator.

An `InnerLink` keeps the very programs that real agents would hold, runs them with the host's own
kernels, and behaves as it is told: answer, hold back, refuse, answer nonsense, die.
The same conformance tests run over it and over real agents.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

import numpy as np

from cocoi_agent.wire.messages import Answer, Status
from cocoi_agent.wire.tensors import describe
from cocoi_cli.model.casts import to_float16
from cocoi_cli.model.network import LocalStage
from cocoi_cli.runtime.inference import Clock
from cocoi_cli.runtime.loading import stage_programs
from cocoi_cli.runtime.magnitudes import peak

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cocoi_cli.model.network import Network
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.inference import LinkOwner
    from cocoi_cli.runtime.loading import ProgramSource
    from cocoi_cli.runtime.report import AnyArray

ANSWER = "answer"  # compute and answer at once
HOLD = "hold"  # never answer, stay connected: a frozen device
DIE = "die"  # break the connection instead of answering
GARBLE = "garble"  # answer an array of another shape
# any other word: refuse with that word as the error code

# As agents have it: what float16 holds unscaled, where a scale puts the largest magnitude, and how far it may go.
SMALLEST_UNSCALED: Final = 2.0**-6
LARGEST_UNSCALED: Final = 65520.0
TOP_EXPONENT: Final = 14
MOST_SHIFT: Final = 126


class InnerLink:
    """A link whose agent lives in the same event loop."""

    def __init__(
        self, agent: str, owner: LinkOwner, kernels: Kernels, behave: Callable[[int], str] = lambda _: ANSWER
    ) -> None:
        """Make an agent.

        Args:
            agent: Its id.
            owner: Who hears of answers and of its loss.
            kernels: What it computes with.
            behave: Called with 0, 1, 2, ... for each share; returns one of the words above.
        """
        self.id = agent
        self.clock = Clock(0.0, 0.0)
        self.is_open = True
        self.shares = 0
        self._owner = owner
        self._kernels = kernels
        self._behave = behave
        self._sources: dict[str, ProgramSource] = {}

    def hold(self, program: str, source: ProgramSource) -> None:
        """Hold a program under an id."""
        self._sources[program] = source

    def load(self, network: Network, plan: Plan, programs: Mapping[str, Sequence[str]]) -> None:
        """Hold the programs of a network.

        Args:
            network: Cut by the plan.
            plan: Says how each stage is computed.
            programs: Stage name to the ids of its programs, in the order of their variants.
        """
        plans = {layer.layer: layer for layer in plan.layers}
        for stage in network.stages:
            if not isinstance(stage, LocalStage):
                sources = stage_programs(stage, plans.get(stage.name))
                for program, source in zip(programs[stage.name], sources, strict=True):
                    self.hold(program, source)

    def send_share(
        self,
        *,
        stream: int,
        codeword: int,
        share: int,
        program: str,
        x: AnyArray,
        scale: float,
        axis: int,
        reply: str,
        deadline_s: float | None,
    ) -> None:
        """Take a share; what comes of it is decided by `behave`."""
        number, self.shares = self.shares, self.shares + 1
        word = self._behave(number)
        loop = asyncio.get_running_loop()
        if word == DIE:
            loop.call_soon(self.die, "told to die")
        elif word in (ANSWER, GARBLE):
            source = self._sources[program]
            y, left = answer_of(self._kernels, source, x, scale, reply)
            if word == GARBLE:
                y = y[..., :0]
            answer = Answer(number, stream, codeword, share, Status.DONE, (describe("y", y, left),))
            loop.call_soon(self._deliver, answer, (y,))
        elif word != HOLD:
            answer = Answer(number, stream, codeword, share, Status.REFUSED, code=word, message="told to refuse")
            loop.call_soon(self._deliver, answer, ())

    def cancel(self, codeword: int, share: int) -> None:
        """Every share is begun at once, so there is nothing to drop."""

    def die(self, cause: str) -> None:
        """Break the connection, once."""
        if self.is_open:
            self.is_open = False
            self._owner.lost(self, cause)

    def _deliver(self, answer: Answer, tensors: tuple[AnyArray, ...]) -> None:
        if self.is_open:
            self._owner.answered(self, answer, tensors)


def answer_of(kernels: Kernels, source: ProgramSource, x: AnyArray, scale: float, reply: str) -> tuple[AnyArray, float]:
    """What an agent answers to a share.

    Args:
        kernels: What computes.
        source: The share's program.
        x: The share as it is sent, in the type that the program takes.
        scale: Its value is `x * scale`.
        reply: `f16` or `f32`.

    Returns:
        The answer, and the scale of its values: of a program that is not linear the share is multiplied out.
    """
    if scale != 1.0 and not source.linear:
        x, scale = (x.astype(np.float32) * np.float32(scale)).astype(x.dtype), 1.0
    (y,) = kernels.run_program(source.graph, {"x": x}, ["y32"], source.tensors)
    if reply == "f32":
        return y, scale
    narrow, by = narrowed(y)
    return narrow, by * scale


def narrowed(y: AnyArray) -> tuple[AnyArray, float]:
    """An answer in float16 as agents make it, and the power of two by which its values must be multiplied.

    Where float16 does not hold an answer, its largest magnitude is brought into `[2^14, 2^15)`; what is not finite
    stays float32.
    """
    largest = peak(y)
    if largest == 0.0 or SMALLEST_UNSCALED <= largest < LARGEST_UNSCALED:
        return to_float16(y), 1.0
    if not math.isfinite(largest):
        return y, 1.0
    shift = min(TOP_EXPONENT - (math.frexp(largest)[1] - 1), MOST_SHIFT)
    return to_float16(np.ldexp(y, shift)), 2.0**-shift
