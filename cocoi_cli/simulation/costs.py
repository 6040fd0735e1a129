"""What single steps take: convolutions on a device or the host, and passes of the host over memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.codes.families.lt import LubyCode
from cocoi_cli.planning.fleet_model import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.planning.fleet_model import DeviceModel, HostModel
    from cocoi_cli.planning.loads import Slice
    from cocoi_cli.simulation.shapes import LocalShape, SharedShape, Sizes


def summed(model: DeviceModel | HostModel, slices: Sequence[Slice]) -> Phase:
    """Compute of several slices one after the other, as one phase; the exponential parts are lumped together."""
    shift = excess = 0.0
    for each in slices:
        phase = model.compute(
            each.macs, kernel=each.kernel, in_channels=each.in_channels, out_channels=each.out_channels,
            width=each.width, rows=each.rows,
        )  # fmt: skip
        shift += phase.shift_s
        excess += phase.excess_s
    return model.steadied(Phase(shift, excess))


def local_seconds(stage: LocalShape, host: HostModel) -> float:
    """Mean seconds of a local stage on the host alone."""
    return summed(host, stage.slices).mean_s + stage.passes / host.pass_bytes_per_s


class Encoding:
    """What has been done for the shares of one codeword already: its cut, and its mixtures."""

    __slots__ = ("_cut", "_mixed")

    def __init__(self) -> None:
        self._cut = self._mixed = False

    def passes(self, shape: SharedShape, sizes: Sizes, share: int) -> float:
        """Bytes that the host must go over before it can send this share."""
        found = 0.0 if self._cut else sizes.cut_pass
        self._cut = True
        if isinstance(shape.code, LubyCode):  # each share is a mixture of its own, of few pieces
            return found + sizes.mix_pass(len(shape.code.members(share)))
        if share in shape.mixed and not self._mixed:
            self._mixed = True
            found += len(shape.mixed) * sizes.mix_pass(sizes.pieces)
        return found


def decode_passes(shape: SharedShape, sizes: Sizes, shares: Sequence[int]) -> float:
    """Bytes that the host goes over to find and join the pieces that did not arrive as such."""
    present = {shape.code.piece_of(share) for share in shares}
    missing = sum(1 for piece in range(shape.code.pieces) if piece not in present)
    return missing * (len(shares) * sizes.decode_pass + sizes.join_pass)


def take_passes(shape: SharedShape, sizes: Sizes, share: int) -> float:
    """Bytes that the host goes over to cast a wanted answer and, where it is a piece, to join it."""
    return sizes.take_pass + (sizes.join_pass if shape.code.piece_of(share) is not None else 0.0)
