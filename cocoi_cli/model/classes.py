"""From a classifier's output to its largest classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.model.network import LoadedModel, Shape

AnyArray = NDArray[Any]

# float16 softmax over 1000 classes may miss 1 by this much.
_SUM_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class TopClass:
    """One class of a result.

    Attributes:
        index: Position in the output.
        label: Its name; None without labels.
        value: The model's own number, unchanged.
        probability: 0 to 1 where the output is a distribution (`value` itself) or plainly
            logits (softmax of them); None for quantised numbers and independent scores.
    """

    index: int
    label: str | None
    value: float
    probability: float | None


def class_width(shape: Sequence[int | str | None] | None) -> int | None:
    """Number of classes of a classifier-like output: rank 2, or all axes after the second of size 1.

    None where the shape is not of that form or leaves the width open.
    """
    if shape is None or len(shape) < 2 or any(axis != 1 for axis in shape[2:]):
        return None
    width = shape[1]
    return width if isinstance(width, int) and width >= 2 else None


def label_width(model: LoadedModel) -> int | None:
    """How many labels fit the model: the width of its first classifier-like output.

    For a model without one, the channels of its only rank-4 output (class scores per
    pixel). None where the file does not tell.
    """
    widths = [width for output in model.outputs if (width := class_width(output.shape)) is not None]
    if widths:
        return widths[0]
    maps = [output.shape[1] for output in model.outputs if output.shape is not None and len(output.shape) == 4]
    return maps[0] if len(maps) == 1 and isinstance(maps[0], int) and maps[0] > 3 else None


def classify(output: AnyArray, labels: Sequence[str] | None, top: int) -> list[tuple[TopClass, ...]]:
    """Find the largest classes of each batch row.

    Floats within 0 and 1 that sum to 1 are probabilities; within 0 and 1 otherwise they
    are independent scores; any other floats are taken for logits, and their softmax
    stands beside them. Integers come from quantised models and stay as they are. Of
    equal values the lower index comes first.

    Args:
        output: `(batch, width)` or `(batch, width, 1, ...)`; borrowed.
        labels: `width` names, or None.
        top: How many classes per row.

    Returns:
        One tuple per batch row, largest first.
    """
    rows = output.reshape(output.shape[0], -1).astype(np.float64)
    floating = np.issubdtype(output.dtype, np.floating)
    return [_largest(row, labels, top, floating=floating) for row in rows]


def is_classes(shape: Shape, labels: Sequence[str] | None) -> bool:
    """Whether an output of this shape is shown as classes: right form, and as many as there are labels."""
    width = class_width(shape)
    return width is not None and (labels is None or len(labels) == width)


def _largest(
    row: NDArray[np.float64], labels: Sequence[str] | None, top: int, *, floating: bool
) -> tuple[TopClass, ...]:
    chances = _probabilities(row) if floating else None
    order = np.argsort(-row, kind="stable")[:top]
    return tuple(
        TopClass(
            index=int(index),
            label=None if labels is None else labels[index],
            value=float(row[index]),
            probability=None if chances is None else float(chances[index]),
        )
        for index in order
    )


def _probabilities(row: NDArray[np.float64]) -> NDArray[np.float64] | None:
    if not np.isfinite(row).all():
        return None
    if row.min() >= 0 and row.max() <= 1 + _SUM_TOLERANCE:
        return row if abs(row.sum() - 1) <= _SUM_TOLERANCE else None
    powers = np.exp(row - row.max())
    return np.asarray(powers / powers.sum())
