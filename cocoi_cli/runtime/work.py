"""The arrays of one conv stage in flight: cut, encoded, answered, decoded, joined and finished.

A `StageWork` belongs to one stage of one inference and to one thread, except for
`convolve`, which only reads. Strips are cut when their first share is wanted, and
their memory is given up when they are decoded. Answers are kept as raw sums, whatever
becomes of them in the output: bias and activation are applied while rows are written there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.model.casts import to_float16, to_float32
from cocoi_cli.model.cutting import cut_piece, cut_strip, join_piece, strip_shape
from cocoi_cli.model.geometry import split_rows
from cocoi_cli.runtime.magnitudes import peak
from cocoi_cli.runtime.works import Counts, Outgoing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cocoi_cli.codes.code import Code
    from cocoi_cli.model.geometry import Split
    from cocoi_cli.model.network import ConvStage
    from cocoi_cli.planning.plan import ConvPlan
    from cocoi_cli.runtime.blocks import Blocks
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.report import AnyArray

# float16 holds 65504 at most and loses digits below 2^-14; shares between these need no scale.
LARGEST_UNSCALED = 32768.0
SMALLEST_UNSCALED = 2.0**-6
FIRST_AXIS = 2  # height, or the only spatial axis


class _Answers:
    """The answers to one strip, cast into one block as they arrive, so that decoding copies nothing.

    Attributes:
        lent: The block as it was given.
    """

    def __init__(self, block: NDArray[np.float32]) -> None:
        """Use `(shares, *answer shape)`: with k of n answers, there is room left for what is missing."""
        self.lent = block
        self._block = block
        self._row_of: dict[int, int] = {}

    def __contains__(self, share: int) -> bool:
        return share in self._row_of

    def add(self, share: int, answer: AnyArray, scale: float) -> NDArray[np.float32]:
        """Keep `answer * scale`; return it as a view."""
        if len(self._row_of) == len(self._block):  # a code without a largest number of shares
            self._block = np.concatenate([self._block, np.empty_like(self._block)])
        row: NDArray[np.float32] = self._block[len(self._row_of)]
        if answer.dtype == np.float16:
            to_float32(answer, out=row)
        else:
            row[...] = answer
        if scale != 1.0:
            with np.errstate(over="ignore"):  # the sum itself is beyond float32 then
                row *= np.float32(scale)
        self._row_of[share] = len(self._row_of)
        return row

    def of(self, shares: Sequence[int]) -> NDArray[np.float32]:
        """One row per share; a view where they arrived in this order."""
        rows = [self._row_of[share] for share in shares]
        in_order: NDArray[np.float32] = self._block[: len(rows)]
        return in_order if rows == list(range(len(rows))) else self._block[rows]

    def room(self, count: int) -> NDArray[np.float32] | None:
        """At least `count` rows that no answer has taken, if there are so many."""
        free: NDArray[np.float32] = self._block[len(self._row_of) :]
        return free if len(free) >= count else None


class StageWork:
    """One conv stage: its input, its codewords, and the output as it fills."""

    def __init__(self, stage: ConvStage, plan: ConvPlan, code: Code, x: AnyArray, blocks: Blocks) -> None:
        """Prepare to cut `x`.

        Args:
            stage: What to compute.
            plan: How; its `strips` may be more than the pieces have rows and is then lowered.
            code: Made for the plan.
            x: `stage.input_shape`, float32 or float16; borrowed until the stage is done.
            blocks: Where the memory of strips comes from and goes back to.
        """
        self.stage = stage
        self.plan = plan
        self.code = code
        self.counts = Counts()
        self.kind = "conv"
        self.name, self.scheme, self.reason = stage.name, plan.scheme, plan.reason
        self.n, self.k = plan.n, plan.k
        self.rounding = "f16" if "f16" in (plan.transport, plan.answers) else "f32"
        self.keeps_input = False  # set it where shares may be asked for again after the output was handed over
        self.split = _split(stage, plan, x.shape[plan.axis])
        self.peak = peak(x)
        self._x = x
        self._blocks = blocks
        self._output = blocks.take(stage.output_shape)
        self._pieces: dict[int, NDArray[np.float32]] = {}
        self._mixtures: dict[int, NDArray[np.float32]] = {}
        self._mixed = tuple(share for share in range(code.shares or 0) if code.piece_of(share) is None)
        self._answers: dict[int, _Answers] = {}
        self._undecoded = set(range(self.strips))

    @property
    def magnitude(self) -> float:
        """Root mean square of the input times that of the filters' norms."""
        weight = self.stage.weight
        norms = math.sqrt(float(np.vdot(weight, weight)) / max(len(weight), 1))
        x = self._x.reshape(-1)
        return norms * math.sqrt(float(np.vdot(x, x)) / max(x.size, 1))

    @property
    def strips(self) -> int:
        """Number of codewords."""
        return len(self.split.strips)

    @property
    def is_sendable(self) -> bool:
        """Whether the input can be cut, mixed and sent: one infinity would spoil every piece it is added to."""
        return math.isfinite(self.peak)

    def hand_over(self) -> AnyArray:
        """The output once every strip is decoded: `stage.output_shape` float32, also in float16 graphs.

        It is a block of the caller's `Blocks` from now on. Input and output are forgotten, for this
        object lives as long as the report.
        """
        output, self._output = self._output, np.empty(0, np.float32)
        if not self.keeps_input:
            self._x = self._output
        return output

    def share(self, strip: int, share: int) -> Outgoing:
        """Encode one share for sending."""
        encoded = self._encode(strip, share)
        axis, reply = self.plan.axis, self.plan.answers
        if self.plan.transport == "f32":
            return Outgoing(encoded, 1.0, 0, axis, reply)
        scale = self._scale(encoded)
        scaled = encoded if scale == 1.0 else encoded * np.float32(1.0 / scale)
        return Outgoing(to_float16(scaled), scale, 0, axis, reply)

    def fits(self, strip: int, share: int, answer: AnyArray) -> bool:
        """Whether an answer has the shape that every share of this strip asks for."""
        return answer.shape == self.answer_shape(strip)

    def answer_shape(self, strip: int) -> tuple[int, ...]:
        """The shape that every answer to a share of this strip has."""
        axis = self.plan.axis
        shape = self.stage.output_shape
        return (*shape[:axis], self.split.strips[strip].rows, *shape[axis + 1 :])

    def accept(self, strip: int, share: int, answer: AnyArray, scale: float) -> None:
        """Take an answer; a data share goes straight into the output.

        Args:
            strip: The codeword.
            share: Which share was computed.
            answer: `answer_shape(strip)`, float16 or float32; handed over.
            scale: Its value is `answer * scale`.
        """
        answers = self._answers.get(strip)
        if answers is None:
            shape = (self.code.shares or self.code.pieces, *self.answer_shape(strip))
            answers = self._answers[strip] = _Answers(self._blocks.take(shape))
        result = answers.add(share, answer, scale)
        piece = self.code.piece_of(share)
        if piece is not None:
            self._join_piece(strip, piece, result)

    def has(self, strip: int, share: int) -> bool:
        """Whether an answer to this share is no longer wanted: it is here, or the strip is decoded."""
        return strip not in self._undecoded or share in self._answers.get(strip, ())

    def decode(self, strip: int, shares: Sequence[int], kernels: Kernels) -> bool:
        """Finish a strip from exactly these shares; return whether anything had to be decoded.

        A sum that overflows, in a mixture or in an honest answer, would decode to NaN where the
        convolution itself has a number or an infinity: such a piece is computed on the host.
        """
        answers = self._answers.pop(strip)
        present = {self.code.piece_of(share) for share in shares}
        missing = [piece for piece in range(self.code.pieces) if piece not in present]
        if missing:
            with np.errstate(over="ignore", invalid="ignore"):
                decoded = self.code.decode(shares, answers.of(shares), answers.room(len(missing)))
            for piece in missing:
                result = decoded.pieces[piece]
                if not math.isfinite(peak(result)):
                    result = self._piece(kernels, strip, piece)
                    self.counts.host += 1
                self._join_piece(strip, piece, result)
            self.counts.decoded += 1
            self.counts.gain = max(self.counts.gain, decoded.gain)
        self._undecoded.remove(strip)
        self._blocks.give(answers.lent)
        for kept in (self._pieces, self._mixtures):
            block = kept.pop(strip, None)
            # Shares in float32 are these very arrays, and links may still be sending them.
            if block is not None and self.plan.transport == "f16":
                self._blocks.give(block)
        return bool(missing)

    def arranged(self, answers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers as the code takes them: as they came."""
        return answers

    def whole(self, kernels: Kernels) -> AnyArray:
        """The output of the stage computed on the host in one piece, nothing mixed; a thread may run it."""
        return compute_convolution(self.stage, self._x, kernels)

    def convolve(self, kernels: Kernels, strip: int, shares: Sequence[int]) -> list[AnyArray]:
        """Compute shares on the host, in float32; only reads, so a thread may run it."""
        return [
            kernels.convolve(self.stage.spec, self.plan.axis, self._input(strip, share), self.stage.weight)
            for share in shares
        ]

    def _input(self, strip: int, share: int) -> NDArray[np.float32]:
        """A share in memory of its own, made without touching what the loop uses."""
        piece = self.code.piece_of(share)
        if piece is not None:
            return cut_piece(self._x, self.split, strip, piece, self.plan.axis)
        return self.code.encode(cut_strip(self._x, self.split, strip, self.plan.axis), share)

    def _join_piece(self, strip: int, piece: int, sums: NDArray[np.float32]) -> None:
        """Write a piece of raw sums, which stay as they are, into the output, finished."""
        join_piece(self._output, sums, self.split, piece, strip, self.plan.axis, self.stage.finish)

    def _piece(self, kernels: Kernels, strip: int, piece: int) -> AnyArray:
        """One piece as the host computes it, nothing mixed."""
        x = cut_piece(self._x, self.split, strip, piece, self.plan.axis)
        return kernels.convolve(self.stage.spec, self.plan.axis, x, self.stage.weight)

    def _encode(self, strip: int, share: int) -> NDArray[np.float32]:
        """One share; all mixtures of a strip are made with the first, as two cost what one does."""
        pieces = self._cut(strip)
        if share not in self._mixed:
            return self.code.encode(pieces, share)
        mixtures = self._mixtures.get(strip)
        if mixtures is None:
            mixtures = self._mixtures[strip] = self._blocks.take((len(self._mixed), *pieces.shape[1:]))
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows here is found in `decode`
                self.code.encode_shares(pieces, self._mixed, mixtures)
        mixture: NDArray[np.float32] = mixtures[self._mixed.index(share)]
        return mixture

    def _cut(self, strip: int) -> NDArray[np.float32]:
        pieces = self._pieces.get(strip)
        if pieces is None:
            axis = self.plan.axis
            room = self._blocks.take((self.split.pieces, *strip_shape(self._x.shape, self.split, strip, axis)))
            pieces = self._pieces[strip] = cut_strip(self._x, self.split, strip, axis, room)
        return pieces

    def _scale(self, encoded: NDArray[np.float32]) -> float:
        """A power of two that brings the share into float16's range; 1 where it is there already."""
        # The entries of a generator's row add up to at most 2.5 per piece (computed for n up to 64), so four leave
        # room; a mixture that overflowed all the same would be found when it is decoded.
        if self.peak * 4 * self.code.pieces < LARGEST_UNSCALED and self.peak > SMALLEST_UNSCALED:
            return 1.0
        highest = peak(encoded)
        if highest == 0.0 or not math.isfinite(highest) or SMALLEST_UNSCALED < highest < LARGEST_UNSCALED:
            return 1.0
        return float(2.0 ** (math.frexp(highest)[1] - 12))


def compute_convolution(stage: ConvStage, x: AnyArray, kernels: Kernels) -> AnyArray:
    """A conv stage in one piece on the host, whatever the size of `x`, finished; float32."""
    return stage.finish.of(convolve_whole(stage, x, kernels))


def convolve_whole(stage: ConvStage, x: AnyArray, kernels: Kernels) -> AnyArray:
    """The raw sums of a conv stage in one piece on the host, whatever the size of `x`; float32."""
    split = split_rows(stage.spec, FIRST_AXIS, x.shape[FIRST_AXIS], 1, 1)
    (piece,) = cut_strip(x, split, 0, FIRST_AXIS)
    return kernels.convolve(stage.spec, FIRST_AXIS, piece, stage.weight)


def _split(stage: ConvStage, plan: ConvPlan, rows: int) -> Split:
    whole = split_rows(stage.spec, plan.axis, rows, plan.k, 1)
    strips = min(plan.strips, whole.piece_rows)
    return whole if strips == 1 else split_rows(stage.spec, plan.axis, rows, plan.k, strips)
