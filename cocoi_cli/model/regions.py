"""Parts of a graph that behave like one operator computed row by row.

A region has one input and one output; nothing in between is read elsewhere, constants come from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.errors import UsageError
from cocoi_cli.model.graph import is_default
from cocoi_cli.model.row_operators import RowReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cocoi_cli.model.layers import Prepared
    from cocoi_cli.model.network import Shape
    from cocoi_cli.model.row_ranges import Window

MOST_CONVOLUTIONS = 32  # in one region: halos have eaten up what is saved long before


class IllegalSegmentError(UsageError):
    """What lies between two tensors cannot be computed tile by tile."""

    code: ClassVar[str] = "illegal-segment"

    def __init__(self, start: str, end: str, reason: str) -> None:
        super().__init__(
            f"what lies between `{start}` and `{end}` cannot be computed tile by tile: {reason}",
            input=start,
            output=end,
            reason=reason,
        )
        self.start, self.end, self.reason = start, end, reason


@dataclass(frozen=True, slots=True)
class Region:
    """The nodes between two tensors, by index and in execution order; constants come from outside."""

    input: str
    output: str
    nodes: tuple[int, ...]


class Regions:
    """Finds regions of one prepared model."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.reader = RowReader.of(prepared)
        self._nodes = prepared.graph.nodes
        self._producers, self._consumers = prepared.graph.producers(), prepared.graph.consumers()
        self._moving = [self.reader.moving(node) for node in self._nodes]
        self._windows = [self.reader.window(index) for index in range(len(self._nodes))]

    def window(self, node: int) -> Window | None:
        """The window of a node on its rows; None where it cannot be computed row by row."""
        return self._windows[node]

    def moving(self, node: int) -> tuple[str, ...]:
        """The tensors that a node reads and that are not constant, each once."""
        return self._moving[node]

    def shape(self, tensor: str) -> Shape:
        """Of a tensor of a region, or of its input."""
        return self.reader.shapes[tensor]

    def is_convolution(self, node: int) -> bool:
        """Whether a node is a convolution that nothing stands in the way of."""
        return node in self.reader.specs

    def starts(self) -> tuple[str, ...]:
        """Tensors that a region may well begin at, in the order of the graph: not before what comes for free."""
        made = [name for node in self._nodes for name in node.output]
        tensors = [name for name in (*self.prepared.graph.inputs, *made) if name in self.reader.shapes]
        return tuple(
            name
            for name in tensors
            if any(self._windows[reader] is not None for reader in self._consumers.get(name, ()))
            and not self._is_passed_on(name, {name})
        )

    def beginning_at(self, start: str) -> Iterator[Region]:
        """Regions with a convolution that begin at a tensor and end where a further operator would not come for free.

        They come in the order of their ends; regions of more than `MOST_CONVOLUTIONS` are left out.
        """
        known, convolutions = {start}, 0
        for index in range(self._producers.get(start, -1) + 1, len(self._nodes)):
            if self._windows[index] is None or not known.issuperset(self._moving[index]):
                continue
            (output,) = filter(None, self._nodes[index].output)
            known.add(output)
            convolutions += self.is_convolution(index)
            if convolutions > MOST_CONVOLUTIONS:
                return
            if convolutions and not self._is_passed_on(output, known):
                nodes = self._ancestors(start, output)
                if any(map(self.is_convolution, nodes)) and self._leak(nodes, output) is None:
                    yield Region(start, output, nodes)

    def between(self, start: str, end: str) -> Region:
        """The region between two tensors.

        Raises:
            IllegalSegmentError: There is none, with the reason.
        """
        for name in (start, end):
            if name not in self.reader.shapes:
                raise IllegalSegmentError(start, end, f"`{name}` is no float32 tensor of known size with rows")
        nodes = self._ancestors(start, end)
        for index in nodes:
            if self._windows[index] is None:
                raise IllegalSegmentError(start, end, self._obstacle(index))
        entering = {name for index in nodes for name in self._moving[index] if name not in self._producers} - {start}
        if entering or not any(start in self._moving[index] for index in nodes):
            other = min(entering, default=None)
            reason = f"it depends on `{other}` too" if other is not None else "no path leads from one to the other"
            raise IllegalSegmentError(start, end, reason)
        leak = self._leak(nodes, end)
        if leak is not None:
            raise IllegalSegmentError(start, end, f"`{leak}` inside it is needed elsewhere")
        if not any(map(self.is_convolution, nodes)):
            raise IllegalSegmentError(start, end, "it holds no convolution")
        return Region(start, end, nodes)

    def _ancestors(self, start: str, end: str) -> tuple[int, ...]:
        """The nodes that `end` depends on, up to `start`; where one has no window, the search ends there."""
        found: set[int] = set()
        open_tensors = [end]
        while open_tensors:
            name = open_tensors.pop()
            index = self._producers.get(name)
            if name == start or index is None or index in found:
                continue
            found.add(index)
            if self._windows[index] is not None:
                open_tensors.extend(self._moving[index])
        return tuple(sorted(found))

    def _leak(self, nodes: tuple[int, ...], end: str) -> str | None:
        """A tensor made in the region, other than its output, that is needed outside."""
        inside, outputs = set(nodes), self.prepared.graph.outputs
        for index in nodes:
            name: str
            for name in filter(None, self._nodes[index].output):
                if name != end and (name in outputs or not inside.issuperset(self._consumers.get(name, ()))):
                    return name
        return None

    def _is_passed_on(self, tensor: str, known: set[str]) -> bool:
        """Whether all that reads a tensor is one operator that needs nothing else and gives no more elements."""
        readers = self._consumers.get(tensor, [])
        if len(readers) != 1 or tensor in self.prepared.graph.outputs:
            return False
        (reader,) = readers
        if self._windows[reader] is None or self.is_convolution(reader) or not known.issuperset(self._moving[reader]):
            return False
        (output,) = filter(None, self._nodes[reader].output)
        return _size(self.shape(output)) <= _size(self.shape(tensor))

    def _obstacle(self, index: int) -> str:
        """Why a node has no window, in words."""
        node = self._nodes[index]
        if is_default(node, "Conv"):
            layers = {self.prepared.nodes[layer.name]: layer for layer in self.prepared.layers}
            layer = layers.get(index)
            if layer is not None and layer.obstacle is not None:
                return f"the convolution `{layer.name}` stays on the host: {layer.obstacle}"
        return f"the operator {node.op_type} `{node.name or node.output[0]}` is not computed row by row"


def _size(shape: Shape) -> int:
    total = 1
    for length in shape:
        total *= length
    return total
