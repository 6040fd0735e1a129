"""Writes ONNX graphs node by node; every node's output bears the node's own name. Needs numpy and onnx only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OPSET, IR_VERSION = 17, 8  # read by every ONNX Runtime since 1.12

Dimension = int | str  # a name stands for a dimension known only when the model runs


class GraphWriter:
    """Collects the nodes and tensors of one model.

    With `half`, weights are stored as float16 and each is followed by a Cast to float32: the file halves, and the
    arithmetic stays that of float32. Biases and statistics are float32 always; they are few, and their errors would
    not average out.
    """

    def __init__(self, *, half: bool) -> None:
        self._half = half
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: list[onnx.TensorProto] = []

    def tensor(self, name: str, values: np.ndarray) -> str:
        """Store `values` as float32 (int64 stays) and return the name by which nodes refer to them."""
        kept = values if values.dtype == np.int64 else values.astype(np.float32)
        self._tensors.append(numpy_helper.from_array(kept, name))
        return name

    def weight(self, name: str, values: np.ndarray) -> str:
        """Store a weight, as float16 where the model is to be small, and return the name of its float32 value."""
        if not self._half:
            return self.tensor(name, values)
        self._tensors.append(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        self._nodes.append(
            helper.make_node("Cast", [f"{name}.half"], [name], name=f"cast.{name}", to=TensorProto.FLOAT)
        )
        return name

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: object) -> str:
        """Append a node and return the name of its output, which is `name`."""
        self._nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def model(
        self,
        name: str,
        image: tuple[str, Sequence[Dimension]],
        result: tuple[str, Sequence[Dimension]],
        metadata: Mapping[str, object],
    ) -> onnx.ModelProto:
        """Assemble the model.

        Args:
            name: of the graph.
            image: name and shape of the input, float32.
            result: name and shape of the output, float32; one of the nodes.
            metadata: goes into `metadata_props`; everything that is not text is written as JSON.

        Returns:
            The model, checked.

        Raises:
            onnx.checker.ValidationError: the graph does not hold together. A mistake in the caller.
        """
        ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, list(shape)) for end, shape in (image, result)]
        graph = helper.make_graph(self._nodes, name, ends[:1], ends[1:], self._tensors)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="cocoi", opset_imports=opsets, ir_version=IR_VERSION)
        helper.set_model_props(model, {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()})
        onnx.checker.check_model(model, full_check=True)
        return model
