"""An agent inside the host: for rehearsals, and for tests and studies of the coordinator.

An `InnerLink` keeps the programs of a network, computes shares with the host's own
kernels, and behaves as it is told: answer, hold back, refuse, answer nonsense, die.
The same conformance tests run over it and over real agents.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from cocoi_agent.wire.messages import Answer, Status
from cocoi_agent.wire.tensors import describe
from cocoi_cli.model.casts import to_float16, to_float32
from cocoi_cli.model.network import ConvStage
from cocoi_cli.runtime.inference import Clock
from cocoi_cli.runtime.work import LARGEST_UNSCALED, SMALLEST_UNSCALED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cocoi_cli.model.network import Network
    from cocoi_cli.runtime.host import HostKernels
    from cocoi_cli.runtime.inference import LinkOwner
    from cocoi_cli.runtime.report import AnyArray

ANSWER = "answer"  # compute and answer at once
HOLD = "hold"  # never answer, stay connected: a frozen device
DIE = "die"  # break the connection instead of answering
GARBLE = "garble"  # answer an array of another shape
# any other word: refuse with that word as the error code


class InnerLink:
    """A link whose agent lives in the same event loop."""

    def __init__(
        self, agent: str, owner: LinkOwner, kernels: HostKernels, behave: Callable[[int], str] = lambda _: ANSWER
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
        self._stages: dict[str, ConvStage] = {}

    def load(self, network: Network, programs: Mapping[str, str]) -> None:
        """Hold the programs of a network: stage name to program id."""
        for stage in network.stages:
            if isinstance(stage, ConvStage):
                self._stages[programs[stage.name]] = stage

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
            y = self._compute(self._stages[program], x, axis, reply)
            if word == GARBLE:
                y = y[..., :0]
            answer = Answer(number, stream, codeword, share, Status.DONE, (describe("y", y, scale),))
            loop.call_soon(self._deliver, answer, (y,))
        elif word != HOLD:
            answer = Answer(number, stream, codeword, share, Status.REFUSED, code=word, message="told to refuse")
            loop.call_soon(self._deliver, answer, ())

    def skip(self, codeword: int, share: int) -> None:
        """Every share is begun at once, so there is nothing to drop."""

    def die(self, cause: str) -> None:
        """Break the connection, once."""
        if self.is_open:
            self.is_open = False
            self._owner.lost(self, cause)

    def _compute(self, stage: ConvStage, x: AnyArray, axis: int, reply: str) -> AnyArray:
        x32 = to_float32(x) if x.dtype == np.float16 else x
        y = self._kernels.convolve(stage.spec, axis, x32, stage.weight)
        if reply == "f32":
            return y
        # An agent scales what float16 does not hold; here float32 may as well stay.
        peak = max(float(np.max(y)), -float(np.min(y))) if y.size else 0.0
        return to_float16(y) if SMALLEST_UNSCALED < peak < LARGEST_UNSCALED else y

    def _deliver(self, answer: Answer, tensors: tuple[AnyArray, ...]) -> None:
        if self.is_open:
            self._owner.answered(self, answer, tensors)
