"""The records that describe a model: loaded, and cut into stages.

`LoadedModel` is the file as it was read; `ConvLayer` describes one convolution at
known sizes; `Network` is the model cut into stages by a plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from cocoi_cli.model.finish import RAW, Finish

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A graph input or output as the file declares it.

    Attributes:
        name: The ONNX name.
        dtype: numpy dtype name (`float32`, `uint8`, ...).
        shape: One entry per axis: a size, a symbol's name, or None where unknown.
            None instead of a tuple where even the rank is unknown.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An ONNX file that passed the checks.

    Attributes:
        path: Where it was read from.
        name: File name without its ending.
        sha256: Hex digest of the file's bytes.
        proto: The `onnx.ModelProto` (typed Any: its stubs are not usable). Never written.
        inputs: Graph inputs that are no initializers.
        outputs: Graph outputs.
        metadata: `metadata_props` of the file.
        opset: Version of the default operator set.
    """

    path: Path
    name: str
    sha256: str
    proto: Any
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]
    opset: int


@dataclass(frozen=True, slots=True)
class ConvSpec:
    """Attributes of a convolution over `d` spatial axes, normalised.

    `pads_begin` and `pads_end` are explicit: `auto_pad` has been resolved with the
    known input size. Weights are `(out_channels, in_channels / group, *kernel)`.
    """

    kernel: Shape
    strides: Shape
    dilations: Shape
    pads_begin: Shape
    pads_end: Shape
    group: int
    in_channels: int
    out_channels: int


class Behind(Enum):
    """What becomes of that which ONNX Runtime computes along with a convolution, where that is distributed.

    A constant bias is always part of the stage.
    """

    NOTHING = "nothing"
    """There is no more than a bias, or what costs the same wherever the convolution is computed."""
    JOINED = "joined"
    """An activation, which the stage applies to its rows as it joins them."""
    HOST = "host"
    """An addition, an activation or a rounding to float16, for which the host goes over the whole output in the end."""


@dataclass(frozen=True, slots=True)
class ConvLayer:
    """One convolution of the graph at known sizes: what a planner looks at.

    Attributes:
        name: Unique and readable (the node's name, or made from its output).
        spec: Normalised attributes.
        input_shape: `(batch, channels, *spatial)`; empty where unknown.
        output_shape: `(batch, channels, *spatial)`; empty where unknown.
        dtype: `float32` or `float16`: the type of the activation in the graph.
        macs: Multiply-accumulates of the layer for this batch.
        obstacle: Why the layer cannot be distributed whatever the plan, or None
            (quantised weights, weights computed at run time, transposed
            convolution, inside a control-flow body, ...).
        behind: What follows it.
    """

    name: str
    spec: ConvSpec | None
    input_shape: Shape
    output_shape: Shape
    dtype: str
    macs: int
    obstacle: str | None
    behind: Behind = Behind.NOTHING


@dataclass(frozen=True, slots=True)
class LocalStage:
    """A part of the graph that the host runs in ONNX Runtime.

    Attributes:
        name: `local 1`, `local 2`, ... in order of execution.
        inputs: Tensor names it needs (graph inputs or outputs of earlier stages).
        outputs: Tensor names that later stages or the graph's outputs need.
        model: Serialised ONNX model of the part.
        layers: Names of the conv layers inside it (each stays on the host).
        operators: Number of nodes.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    model: bytes = field(repr=False)
    layers: tuple[str, ...]
    operators: int


@dataclass(frozen=True, slots=True)
class ConvStage:
    """A distributed convolution: linear for agents and codes, finished where its rows are joined.

    Attributes:
        name: The layer's name.
        input: Tensor name of the activation that is cut.
        output: Tensor name of the finished sum.
        spec: Normalised attributes.
        weight: `(out_channels, in_channels / group, *kernel)` float32, C-contiguous.
        input_shape: `(batch, channels, *spatial)` of this run.
        output_shape: `(batch, channels, *spatial)` of this run.
        dtype: The type `output` must have: `float32`, for a float16 layer too, whose sum
            the next local stage rounds.
        finish: What makes the output of the raw sum, which is all that agents and codes see.
    """

    name: str
    input: str
    output: str
    spec: ConvSpec
    weight: NDArray[np.float32] = field(repr=False)
    input_shape: Shape
    output_shape: Shape
    dtype: str
    finish: Finish = RAW

    @property
    def bare(self) -> ConvStage:
        """The same stage with the raw sum as its output."""
        return replace(self, finish=RAW)


@dataclass(frozen=True, slots=True)
class Tile:
    """A run of rows of a segment's output, and what it needs of the input.

    Attributes:
        start: First row of the output.
        stop: One past the last.
        first: First row of the unpadded input.
        last: One past the last.
        program: Index into the programs of the stage.
    """

    start: int
    stop: int
    first: int
    last: int
    program: int


@dataclass(frozen=True, slots=True)
class FusedStage:
    """A segment, several layers computed tile by tile: with bias and activation, uncoded.

    The programs have `x`, rows of the input on axis 2, and the weights by name as inputs, and give `y32` or
    `y16` and `y32`, rows of the output. They hold for any number of rows: what differs between them is where
    the picture ends.

    Attributes:
        name: The segment's.
        layers: Names of the conv layers inside, in the order of the graph.
        input: Tensor name of the activation that is cut.
        output: Tensor name of the result.
        input_shape: `(batch, channels, *spatial)` of this run.
        output_shape: `(batch, channels, *spatial)` of this run.
        tiles: From the first row of the output to the last, without gaps.
        programs: Serialised ONNX, `x` in the type of the transport; no two are equal.
        host_programs: The same with `x` and the only output `y32` in float32, in the same order.
        whole: The segment at any size as it stands in the graph: `x` to `y32` in float32.
        weights: What all the programs share, by input name: float32, C-contiguous.
        dtype: The type of `output`: `float32`.
    """

    name: str
    layers: tuple[str, ...]
    input: str
    output: str
    input_shape: Shape
    output_shape: Shape
    tiles: tuple[Tile, ...]
    programs: tuple[bytes, ...] = field(repr=False)
    host_programs: tuple[bytes, ...] = field(repr=False)
    whole: bytes = field(repr=False)
    weights: Mapping[str, NDArray[np.float32]] = field(repr=False)
    dtype: str = "float32"

    finish: ClassVar[Finish] = RAW  # its programs have bias and activation inside

    @property
    def bare(self) -> FusedStage:
        """The stage itself: it has no raw sums."""
        return self


Stage = LocalStage | ConvStage | FusedStage


@dataclass(frozen=True, slots=True)
class Network:
    """A model cut into stages, in an order that respects every dependency.

    Attributes:
        model: What it was cut from.
        stages: Local, conv and fused stages; each follows those that make what it reads.
        layers: Every conv layer of the graph, distributed or not.
        last_use: Tensor name to index of the last stage that reads it; graph outputs
            are kept to the end and are not in it.
    """

    model: LoadedModel
    stages: tuple[Stage, ...]
    layers: tuple[ConvLayer, ...]
    last_use: Mapping[str, int]
