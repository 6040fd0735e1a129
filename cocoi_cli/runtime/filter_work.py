"""The arrays of a conv stage whose filters are coded too: FCDCC (`codes/families/fcdcc.py`).

A share travels as its mixtures of the input stacked on the batch axis, and its filters are stacked on the channel axis,
so that one convolution gives all products and the agent's program is that of any other slice. Only the weights differ
from agent to agent: the program's variant is the share.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cocoi_cli.errors import UsageError
from cocoi_cli.model.cutting import cut_piece, cut_strip, join_piece
from cocoi_cli.runtime.work import StageWork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cocoi_cli.codes.families.fcdcc import FilterCode
    from cocoi_cli.model.network import ConvStage
    from cocoi_cli.planning.plan import ConvPlan
    from cocoi_cli.runtime.blocks import Blocks
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.works import Outgoing


class GroupedFiltersError(UsageError):
    """The filters of a grouped convolution see different channels, so no mixture of them is a filter."""

    code: ClassVar[str] = "grouped-filters"

    def __init__(self, layer: str, groups: int, filters: int) -> None:
        super().__init__(
            f"the filters of `{layer}` cannot be mixed in {filters} groups: the convolution itself has {groups}",
            layer=layer,
            groups=groups,
            filters=filters,
        )


class FilterWork(StageWork):
    """One conv stage under a code on input and filters; see `Work` for the methods.

    The pieces that are cut are the code's row pieces; what is decoded and joined are blocks, a group of output channels
    of a row piece each.
    """

    def __init__(self, stage: ConvStage, plan: ConvPlan, code: FilterCode, x: AnyArray, blocks: Blocks) -> None:
        """Prepare to cut `x`.

        Args:
            stage: What to compute; ungrouped, unless the code leaves the filters alone.
            plan: How; its `k` is the number of answers that suffice.
            code: Made for the plan.
            x: `stage.input_shape`, float32 or float16; borrowed until the stage is done.
            blocks: Where the memory of strips comes from and goes back to.

        Raises:
            GroupedFiltersError: If filters of a grouped convolution would be mixed.
        """
        if stage.spec.group > 1 and code.filters > 1:
            raise GroupedFiltersError(stage.name, stage.spec.group, code.filters)
        super().__init__(stage, replace(plan, k=code.row_pieces), code, x, blocks)
        self.plan, self.k = plan, plan.k
        self.filter_code = code
        self._channels = -(-stage.spec.out_channels // code.filters)  # of a block

    def share(self, strip: int, share: int) -> Outgoing:
        """Encode one share for its home."""
        return replace(super().share(strip, share), variant=0 if self.code.movable else share)

    def answer_shape(self, strip: int) -> tuple[int, ...]:
        """The blocks of an answer as one convolution gives them: input mixtures in the batch, filter mixtures after."""
        batch, _, *spatial = super().answer_shape(strip)
        return (self.filter_code.inputs * batch, self.filter_code.weights * self._channels, *spatial)

    def decode(self, strip: int, shares: Sequence[int], kernels: Kernels) -> bool:
        """Finish a strip from exactly these shares; blocks that overflowed are computed on the host."""
        answers = self._answers.pop(strip)
        arrived = self.in_blocks(answers.of(shares))
        room = self._blocks.take((self.code.pieces, *arrived.shape[2:]))
        with np.errstate(over="ignore", invalid="ignore"):
            decoded = self.code.decode(shares, arrived, room)
        for piece, block in enumerate(decoded.pieces):
            self._join(kernels, strip, piece, block)
        self.counts.decoded += 1
        self.counts.gain = max(self.counts.gain, decoded.gain)
        self._undecoded.remove(strip)
        for block in (answers.lent, room):
            self._blocks.give(block)
        for kept in (self._pieces, self._mixtures):
            lent = kept.pop(strip, None)
            # Shares in float32 are these very arrays, and links may still be sending them.
            if lent is not None and self.plan.transport == "f16":
                self._blocks.give(lent)
        return True

    def arranged(self, answers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers as the code takes them: blocks of products."""
        return self.in_blocks(answers)

    def convolve(self, kernels: Kernels, strip: int, shares: Sequence[int]) -> list[AnyArray]:
        """Compute shares on the host, in float32; only reads, so a thread may run it."""
        pieces = cut_strip(self._x, self.split, strip, self.plan.axis)
        return [
            kernels.convolve(
                self.stage.spec,
                self.plan.axis,
                _stacked(self.code.encode(pieces, share)),
                self.code.encode_filters(self.stage.weight, share),
            )
            for share in shares
        ]

    def _encode(self, strip: int, share: int) -> NDArray[np.float32]:
        """One share; all of a strip are made with the first, reading the pieces once."""
        each = self.filter_code.inputs
        mixtures = self._mixtures.get(strip)
        if mixtures is None:
            pieces = self._cut(strip)
            shares = range(self.filter_code.n)
            mixtures = self._mixtures[strip] = self._blocks.take((len(shares) * each, *pieces.shape[1:]))
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows here is found in `decode`
                self.code.encode_shares(pieces, shares, mixtures)
        return _stacked(mixtures[share * each : (share + 1) * each])

    def in_blocks(self, answers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers as the code has them; a copy only where the batch is larger than one.

        Args:
            answers: `(shares, *answer_shape)` float32, C-contiguous.

        Returns:
            `(shares, l_A * l_B, batch, channels of a group, *spatial)` float32, C-contiguous.
        """
        code, shape = self.filter_code, answers.shape
        batch = shape[1] // code.inputs
        apart = answers.reshape(shape[0], code.inputs, batch, code.weights, self._channels, *shape[3:])
        ordered = np.ascontiguousarray(np.moveaxis(apart, 3, 2))
        return ordered.reshape(shape[0], code.blocks, batch, self._channels, *shape[3:])

    def _join(self, kernels: Kernels, strip: int, piece: int, block: AnyArray) -> None:
        """Write a block into the output, finished; rows and channels beyond its end are padding."""
        row, group = divmod(piece, self.filter_code.filters)
        first = group * self._channels
        last = min(first + self._channels, self.stage.spec.out_channels)
        if first >= last:
            return
        if not np.isfinite(block).all():
            block = self._piece(kernels, strip, piece)
            self.counts.host += 1
        target = self._output[:, first:last]
        finish = self.stage.finish.channels(first, last)
        join_piece(target, block[:, : last - first], self.split, row, strip, self.plan.axis, finish)

    def _piece(self, kernels: Kernels, strip: int, piece: int) -> AnyArray:
        """One block as the host computes it, nothing mixed."""
        row, group = divmod(piece, self.filter_code.filters)
        x = cut_piece(self._x, self.split, strip, row, self.plan.axis)
        weight = self.filter_code.group_filters(self.stage.weight)[group]
        return kernels.convolve(self.stage.spec, self.plan.axis, x, weight)


def _stacked(mixtures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mixtures of the input `(l_A, batch, channels, *spatial)` as one batch."""
    return mixtures.reshape(math.prod(mixtures.shape[:2]), *mixtures.shape[2:])
