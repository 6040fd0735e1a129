"""The arrays of one conv stage in flight: cut, encoded, answered, decoded, joined.

A `StageWork` belongs to one stage of one inference and to one thread, except for
`convolve`, which only reads. Strips are cut when their first share is wanted, and
their memory is given up when they are decoded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.model.casts import to_float16, to_float32
from cocoi_cli.model.cutting import cut_strip, join_piece, new_output
from cocoi_cli.model.geometry import split_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cocoi_cli.codes.code import Code
    from cocoi_cli.model.geometry import Split
    from cocoi_cli.model.network import ConvStage
    from cocoi_cli.planning.plan import ConvPlan
    from cocoi_cli.runtime.host import HostKernels
    from cocoi_cli.runtime.report import AnyArray

# float16 holds 65504 at most and loses digits below 2^-14; shares between these need no scale.
LARGEST_UNSCALED = 32768.0
SMALLEST_UNSCALED = 2.0**-6


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


class StageWork:
    """One conv stage: its input, its codewords, and the output as it fills."""

    def __init__(self, stage: ConvStage, plan: ConvPlan, code: Code, x: AnyArray) -> None:
        """Prepare to cut `x`.

        Args:
            stage: What to compute.
            plan: How; its `strips` may be more than the pieces have rows and is then lowered.
            code: Made for the plan.
            x: `stage.input_shape`, float32 or float16; borrowed until the stage is done.
        """
        self.stage = stage
        self.plan = plan
        self.code = code
        self.counts = Counts()
        self.split = _split(stage, plan, x.shape[plan.axis])
        self.peak = _peak(x)
        self._x = x
        self._output = new_output(stage.output_shape)
        self._pieces: dict[int, NDArray[np.float32]] = {}
        self._answers: dict[int, dict[int, NDArray[np.float32]]] = {strip: {} for strip in range(self.strips)}

    @property
    def strips(self) -> int:
        """Number of codewords."""
        return len(self.split.strips)

    @property
    def is_finite(self) -> bool:
        """Whether shares can be mixed: one infinity would spoil every piece it is added to."""
        return math.isfinite(self.peak)

    @property
    def output(self) -> AnyArray:
        """`stage.output_shape` float32, also in float16 graphs; complete once every strip is decoded."""
        return self._output

    def share(self, strip: int, share: int) -> tuple[AnyArray, float]:
        """Encode one share for sending.

        Returns:
            The array to send, C-contiguous, never written again; and the power of two
            that its values must be multiplied with.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows here is found in `decode`
            encoded = self.code.encode(self._cut(strip), share)
        if self.plan.transport == "f32":
            return encoded, 1.0
        scale = self._scale(encoded)
        scaled = encoded if scale == 1.0 else encoded * np.float32(1.0 / scale)
        return to_float16(scaled), scale

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
        result = to_float32(answer) if answer.dtype == np.float16 else answer
        if scale != 1.0:
            with np.errstate(over="ignore"):  # the sum itself is beyond float32 then
                result = result * np.float32(scale)
        self._answers[strip][share] = result
        piece = self.code.piece_of(share)
        if piece is not None:
            join_piece(self._output, result, self.split, piece, strip, self.plan.axis)

    def has(self, strip: int, share: int) -> bool:
        """Whether an answer to this share is no longer wanted: it is here, or the strip is decoded."""
        answers = self._answers.get(strip)
        return answers is None or share in answers

    def decode(self, strip: int, shares: Sequence[int], kernels: HostKernels) -> bool:
        """Finish a strip from exactly these shares; return whether anything had to be decoded.

        A sum that overflows, in a mixture or in an honest answer, would decode to NaN where the
        convolution itself has a number or an infinity: such a piece is computed on the host.
        """
        answers = self._answers.pop(strip)
        present = {self.code.piece_of(share) for share in shares}
        missing = [piece for piece in range(self.code.pieces) if piece not in present]
        if missing:
            with np.errstate(over="ignore", invalid="ignore"):
                decoded = self.code.decode(shares, np.stack([answers[share] for share in shares]))
            for piece in missing:
                result = decoded.pieces[piece]
                if not math.isfinite(_peak(result)):
                    result = self.convolve(kernels, strip, (self.code.share_of(piece),))[0]
                    self.counts.host += 1
                join_piece(self._output, result, self.split, piece, strip, self.plan.axis)
            self.counts.decoded += 1
            self.counts.gain = max(self.counts.gain, decoded.gain)
        self._pieces.pop(strip, None)
        return bool(missing)

    def convolve(self, kernels: HostKernels, strip: int, shares: Sequence[int]) -> list[AnyArray]:
        """Compute shares on the host, in float32; only reads, so a thread may run it."""
        pieces = self._pieces.get(strip)
        if pieces is None:
            pieces = cut_strip(self._x, self.split, strip, self.plan.axis)
        return [
            kernels.convolve(self.stage.spec, self.plan.axis, self.code.encode(pieces, share), self.stage.weight)
            for share in shares
        ]

    def _cut(self, strip: int) -> NDArray[np.float32]:
        pieces = self._pieces.get(strip)
        if pieces is None:
            pieces = self._pieces[strip] = cut_strip(self._x, self.split, strip, self.plan.axis)
        return pieces

    def _scale(self, encoded: NDArray[np.float32]) -> float:
        """A power of two that brings the share into float16's range; 1 where it is there already."""
        # A mixture is at most `pieces` times a generator entry (below 4 by construction) larger than the input.
        if self.peak * 4 * self.code.pieces < LARGEST_UNSCALED and self.peak > SMALLEST_UNSCALED:
            return 1.0
        peak = _peak(encoded)
        if peak == 0.0 or not math.isfinite(peak) or SMALLEST_UNSCALED < peak < LARGEST_UNSCALED:
            return 1.0
        return float(2.0 ** (math.frexp(peak)[1] - 12))


def _split(stage: ConvStage, plan: ConvPlan, rows: int) -> Split:
    whole = split_rows(stage.spec, plan.axis, rows, plan.k, 1)
    strips = min(plan.strips, whole.piece_rows)
    return whole if strips == 1 else split_rows(stage.spec, plan.axis, rows, plan.k, strips)


def _peak(x: AnyArray) -> float:
    """The largest magnitude; not finite if any value is not."""
    if x.size == 0:
        return 0.0
    return float(max(np.max(x), -np.min(x))) if not np.isnan(np.max(x)) else math.nan
