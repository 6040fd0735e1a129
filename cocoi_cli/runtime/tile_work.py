"""The arrays of one fused stage in flight: tiles cut, sent, answered and joined, without any code.

Each tile is a codeword of one piece, which any agent may compute. A `TileWork` belongs to one stage of one
inference and to one thread, except for `convolve` and `whole`, which only read.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.codes.copies import CopyCode
from cocoi_cli.codes.families.hedged import SCHEME
from cocoi_cli.model.casts import to_float16, to_float32
from cocoi_cli.model.row_operators import ROW_AXIS
from cocoi_cli.runtime.magnitudes import fits_float16, peak
from cocoi_cli.runtime.works import Counts, Outgoing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cocoi_cli.model.network import FusedStage, Tile
    from cocoi_cli.planning.plan import SegmentPlan
    from cocoi_cli.runtime.blocks import Blocks
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.report import AnyArray


class TileWork:
    """One fused stage; see `works.Work` for the methods."""

    def __init__(self, stage: FusedStage, plan: SegmentPlan, x: AnyArray, blocks: Blocks) -> None:
        """Prepare to cut `x`.

        Args:
            stage: What to compute, made for the plan's transport and answers.
            plan: Who takes tiles, and as what they travel.
            x: `stage.input_shape` float32; borrowed until the stage is done.
            blocks: Where the memory of the output comes from.
        """
        self.stage = stage
        self.plan = plan
        self.name, self.kind, self.scheme, self.reason = plan.name, "fused", SCHEME, plan.reason
        self.n, self.k = plan.n, 1
        self.code = CopyCode(SCHEME, max(plan.n, 1), 1)
        self.counts = Counts()
        self.rounding = "f16" if "f16" in (plan.transport, plan.answers) else "f32"
        self.keeps_input = False  # set it where tiles may be asked for again after the output was handed over
        self.peak = peak(x)
        self._is_planned = x.shape == stage.input_shape
        self._x = x
        self._blocks = blocks
        self._output = blocks.take(stage.output_shape)
        self._missing = set(range(self.strips))

    @property
    def magnitude(self) -> float:
        """Every answer to a tile is the same: none."""
        return 0.0

    @property
    def strips(self) -> int:
        """Number of tiles."""
        return len(self.stage.tiles)

    @property
    def is_sendable(self) -> bool:
        """Whether the input can be cut and sent: else the whole stage is computed on the host.

        A program with a bias inside lets no scale pass through to its answer, so float16 must hold the input as
        it is; and sizes that depend on values may not be those of the plan.
        """
        can_travel = self.plan.transport == "f32" or fits_float16(self.peak)
        return self._is_planned and math.isfinite(self.peak) and can_travel

    def share(self, strip: int, share: int) -> Outgoing:
        """The rows that a tile needs; the same for every share."""
        tile = self.stage.tiles[strip]
        rows = self._rows(tile)
        x: AnyArray = to_float16(rows) if self.plan.transport == "f16" else rows
        return Outgoing(x, 1.0, tile.program, ROW_AXIS, self.plan.answers)

    def fits(self, strip: int, share: int, answer: AnyArray) -> bool:
        """Whether an answer has the rows of its tile."""
        return answer.shape == self.answer_shape(strip)

    def answer_shape(self, strip: int) -> tuple[int, ...]:
        """The shape that every answer to this tile has."""
        tile, shape = self.stage.tiles[strip], self.stage.output_shape
        return (*shape[:ROW_AXIS], tile.stop - tile.start, *shape[ROW_AXIS + 1 :])

    def accept(self, strip: int, share: int, answer: AnyArray, scale: float) -> None:
        """Write an answer, `answer_shape(strip)` float16 or float32, into the output."""
        tile = self.stage.tiles[strip]
        target = self._output[:, :, tile.start : tile.stop]
        if answer.dtype == np.float16:
            wide = to_float32(answer, out=self._blocks.take(answer.shape))
            _write(target, wide, scale)
            self._blocks.give(wide)
        else:
            _write(target, answer, scale)
        self._missing.discard(strip)

    def has(self, strip: int, share: int) -> bool:
        """Whether this tile is in the output already."""
        return strip not in self._missing

    def decode(self, strip: int, shares: Sequence[int], kernels: Kernels) -> bool:
        """Nothing is to be decoded: the tile was written when it came."""
        return False

    def convolve(self, kernels: Kernels, strip: int, shares: Sequence[int]) -> list[AnyArray]:
        """Compute a tile on the host, in float32, once for all shares; only reads, so a thread may run it."""
        tile = self.stage.tiles[strip]
        program, feeds = self.stage.host_programs[tile.program], {"x": self._rows(tile)}
        (answer,) = kernels.run_program(program, feeds, ["y32"], self.stage.weights)
        return [answer] * len(shares)

    def arranged(self, answers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers as the code takes them: as they came."""
        return answers

    def whole(self, kernels: Kernels) -> AnyArray:
        """The output of the stage computed on the host in one piece; a thread may run it."""
        return compute_segment(self.stage, self._x, kernels)

    def hand_over(self) -> AnyArray:
        """The output once every tile is there; see `StageWork.hand_over`."""
        output, self._output = self._output, np.empty(0, np.float32)
        if not self.keeps_input:
            self._x = self._output
        return output

    def _rows(self, tile: Tile) -> NDArray[np.float32]:
        """What a tile needs of the input, in memory of its own: links may still send it when the stage is over."""
        return np.array(self._x[:, :, tile.first : tile.last], np.float32, order="C")


def compute_segment(stage: FusedStage, x: AnyArray, kernels: Kernels) -> AnyArray:
    """A fused stage in one piece on the host, whatever the size of `x`; float32."""
    feeds = {"x": np.ascontiguousarray(x, np.float32)}
    (result,) = kernels.run_program(stage.whole, feeds, ["y32"], stage.weights)
    return result


def _write(target: NDArray[np.float32], values: AnyArray, scale: float) -> None:
    if scale == 1.0:
        target[...] = values
    else:
        with np.errstate(over="ignore"):  # the result itself is beyond float32 then
            np.multiply(values, np.float32(scale), out=target)
