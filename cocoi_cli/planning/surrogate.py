"""The paper's latency of a coded layer and its choice of k, beside the exact ones. Pure.

CoCoI replaces the k-th of n arrivals by a function that is convex in a real k,

    L(k) = (N_enc + N_dec)(theta_m + 1/mu_m) + Σ N_x theta_x + (Σ N_x / mu_x) ln(n / (n - k)),   x in rec, cmp, sen

and takes the k of its minimum. The planner never decides by it: it adds up the tails of phases that do not fall
together, it is infinite at k = n, and it cuts rows into fractions. It is here so that k° can stand beside k*.

Notation: `n`, `k` as in the codes; k° the best by the surrogate, k* the best in truth. N in bytes and
multiply-accumulates (the paper counts two operations for one of these, and 1/mu per operation: the same times).

Source: CoCoI (arXiv 2501.06856), surrogate and sizes as reconstructed in docs/methods.md, the latency model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cocoi_cli.planning.distributions import Hypoexponential, ShiftExponential
from cocoi_cli.planning.order_statistics import kth_arrival

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cocoi_cli.model.network import ConvLayer
    from cocoi_cli.planning.fleet_model import Phase

FLOAT32: Final = 4  # bytes of a value: the paper sends what it computes


@dataclass(frozen=True, slots=True)
class Geometry:
    """What of a convolution decides the sizes of its shares; the cut axis is `along`, the other one `across`.

    Attributes:
        batch: Pictures.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        taps: Multiply-accumulates of one value of the output: K² times the channels that it sees.
        across_in: Length of the input across the cut, its padding included.
        across_out: Length of the output across the cut.
        along_out: Length of the output along the cut, L_O.
        extent: Input positions along the cut that one output position reads: K.
        stride: Along the cut.
    """

    batch: int
    in_channels: int
    out_channels: int
    taps: int
    across_in: int
    across_out: int
    along_out: int
    extent: int
    stride: int

    @classmethod
    def of(cls, layer: ConvLayer, axis: int = 3) -> Geometry:
        """Of a two-dimensional layer at known sizes, cut along an axis of its activation; the paper's is the width.

        Raises:
            ValueError: If the layer has no two spatial axes of known size, or the axis is another one.
        """
        spec = layer.spec
        if spec is None or len(spec.kernel) != 2 or len(layer.output_shape) != 4 or axis not in (2, 3):
            raise ValueError(f"`{layer.name}` cannot be cut along axis {axis} of two")
        along, across = axis - 2, 3 - axis
        return cls(
            batch=layer.output_shape[0],
            in_channels=spec.in_channels,
            out_channels=spec.out_channels,
            taps=spec.kernel[0] * spec.kernel[1] * spec.in_channels // spec.group,
            across_in=layer.input_shape[2 + across] + spec.pads_begin[across] + spec.pads_end[across],
            across_out=layer.output_shape[2 + across],
            along_out=layer.output_shape[axis],
            extent=spec.dilations[along] * (spec.kernel[along] - 1) + 1,
            stride=spec.strides[along],
        )


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the phases of a layer that is coded (n,k).

    Attributes:
        encode: Multiply-accumulates of the host, once; N_enc.
        decode: The same; N_dec.
        send: Bytes to each agent; N_rec, for the agent receives them.
        compute: Multiply-accumulates of each agent; N_cmp.
        receive: Bytes from each agent; N_sen.
    """

    encode: float
    decode: float
    send: float
    compute: float
    receive: float


@dataclass(frozen=True, slots=True)
class Phases:
    """How fast host, agents and links are, all agents alike, as the paper has it.

    Attributes:
        code: The host, per multiply-accumulate of encoding and decoding; theta_m, mu_m.
        send: To an agent, per byte; rec.
        compute: An agent, per multiply-accumulate; cmp.
        receive: From an agent, per byte; sen.
    """

    code: Phase
    send: Phase
    compute: Phase
    receive: Phase


def sizes_at(geometry: Geometry, n: int, k: float, piece: float | None = None) -> Sizes:
    """The paper's sizes at n and a real k.

    Args:
        geometry: Of the layer.
        n: Shares.
        k: Pieces, positive.
        piece: Output positions of a piece; L_O / k, fractions included, where it is not given.
    """
    g = geometry
    out = g.along_out / k if piece is None else piece
    into = (out - 1) * g.stride + g.extent
    values_in = g.batch * g.in_channels * g.across_in * into
    values_out = g.batch * g.out_channels * g.across_out * out
    return Sizes(
        encode=k * n * values_in,
        decode=k * k * values_out,
        send=FLOAT32 * values_in,
        compute=values_out * g.taps,
        receive=FLOAT32 * values_out,
    )


def surrogate(sizes: Sizes, phases: Phases, n: int, k: float) -> float:
    """L(k) in seconds, for sizes at this n and k; infinite from k = n on."""
    if k >= n:
        return math.inf
    both = _agent(sizes, phases)
    tail = sum(part.mean_excess for part in both) * math.log(n / (n - k))
    return phases.code.mean(sizes.encode + sizes.decode) + sum(part.shift for part in both) + tail


def exact(sizes: Sizes, phases: Phases | Sequence[Phases], n: int, k: int) -> float:
    """The expected latency in seconds that the surrogate stands for.

    Args:
        sizes: At this n and k.
        phases: Of all agents, or one each; the host's are the first one's.
        n: Agents.
        k: Answers that are waited for, 1 … n. At k = n nothing is encoded or decoded.
    """
    each = [phases] * n if isinstance(phases, Phases) else list(phases)
    arrivals = [Hypoexponential.of(*_agent(sizes, one)) for one in each]
    coding = each[0].code.mean(sizes.encode + sizes.decode) if k < n else 0.0
    return coding + kth_arrival(arrivals, k)


def best_by_surrogate(geometry: Geometry, phases: Phases, n: int) -> int:
    """k°: the integer in 1 … n - 1 at which L is least; 1 where n is 1."""
    return _least(range(1, max(n, 2)), lambda k: surrogate(sizes_at(geometry, n, k), phases, n, k))


def best_exact(geometry: Geometry, phases: Phases | Sequence[Phases], n: int) -> int:
    """k*: the integer in 1 … n at which the expected latency is least, with pieces of whole rows."""
    choices = range(1, min(n, geometry.along_out) + 1)
    return _least(choices, lambda k: exact(whole_sizes(geometry, n, k), phases, n, k))


def whole_sizes(geometry: Geometry, n: int, k: int) -> Sizes:
    """Sizes as pieces are really cut: ceil(L_O / k) positions each."""
    return sizes_at(geometry, n, k, piece=-(-geometry.along_out // k))


def _agent(sizes: Sizes, phases: Phases) -> tuple[ShiftExponential, ...]:
    return (
        ShiftExponential.of(phases.send, sizes.send),
        ShiftExponential.of(phases.compute, sizes.compute),
        ShiftExponential.of(phases.receive, sizes.receive),
    )


def _least(choices: range, cost: Callable[[int], float]) -> int:
    return min(choices, key=cost)
