"""What a model answered, as text for standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cocoi_cli.model.classes import TopClass, classify, is_classes
from cocoi_cli.model.drawing import areas, class_map

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.model.drawing import Area

AnyArray = NDArray[Any]

_LABEL_WIDTH = 44


def result_text(name: str, outputs: Mapping[str, AnyArray], labels: Sequence[str] | None, top: int) -> str:
    """The answer for one input: its name, then classes, areas of a map, or what the outputs are.

    Args:
        name: The input as the user named it.
        outputs: Output name to array; borrowed.
        labels: Names of classes, or None.
        top: How many classes to show.
    """
    blocks = [
        _block(key, array, labels_for(key, outputs, labels), top, alone=len(outputs) == 1)
        for key, array in outputs.items()
    ]
    return "\n".join([name, *(line for block in blocks for line in block)])


def quiet_text(name: str, outputs: Mapping[str, AnyArray], labels: Sequence[str] | None) -> str:
    """One line per input: the largest class of the first output that has classes, else the shapes."""
    for key, output in outputs.items():
        if has_classes(output, labels):
            best = classify(output, labels_for(key, outputs, labels), 1)
            return f"{name}: " + "; ".join(f"{class_name(row[0])}  {class_value(row[0])}" for row in best)
    return f"{name}: " + ", ".join(f"{key} {_kind(array)}" for key, array in outputs.items())


def class_name(entry: TopClass | Area) -> str:
    """The label, or the number where there are no labels."""
    return f"class {entry.index}" if entry.label is None else entry.label


def class_value(entry: TopClass) -> str:
    """A percentage where there is a probability, else the model's own number."""
    return f"{entry.value:.6g}" if entry.probability is None else f"{entry.probability * 100:.2f} %"


def _block(key: str, output: AnyArray, labels: Sequence[str] | None, top: int, *, alone: bool) -> list[str]:
    title = [] if alone else [f"  {key}  {_kind(output)}"]
    if has_classes(output, labels):
        rows = classify(output, labels, top)
        if len(rows) == 1:
            return title + _classes(rows[0])
        return title + [line for at, row in enumerate(rows) for line in (f"  batch row {at}", *_classes(row))]
    classes = class_map(output, labels)
    if classes is not None:
        covered = areas(classes, labels)
        shown = [f"  {_cut(class_name(area)):{_LABEL_WIDTH}}  {area.share * 100:6.2f} %" for area in covered[:top]]
        more = [f"  and {len(covered) - top} more"] if len(covered) > top else []
        return [f"  {key}  {_kind(output)}, share of the picture", *shown, *more]
    return [f"  {key}  {_kind(output)}  {_range(output)}".rstrip()]


def _classes(row: Sequence[TopClass]) -> list[str]:
    lines = []
    for entry in row:
        line = f"  {_cut(class_name(entry)):{_LABEL_WIDTH}}  {class_value(entry):>9}"
        # Beside the softmax of logits stands what the model itself said.
        raw = entry.probability is not None and entry.probability != entry.value
        lines.append(f"{line}  {entry.value:12.4f}" if raw else line)
    return lines


def _cut(text: str) -> str:
    return text if len(text) <= _LABEL_WIDTH else text[: _LABEL_WIDTH - 1] + "…"


def _kind(array: AnyArray) -> str:
    return f"{'x'.join(map(str, array.shape)) or 'scalar'} {type_word(array)}"


def _range(array: AnyArray) -> str:
    if array.dtype.kind == "U":
        return ", ".join(array.reshape(-1)[:8].tolist())
    if array.size == 0 or array.dtype.kind not in "fiu":
        return ""
    return f"{float(array.min()):.4g} to {float(array.max()):.4g}, mean {float(array.mean(dtype='float64')):.4g}"


def type_word(array: AnyArray) -> str:
    """The numpy name of an array's type; `string` for text of whatever length."""
    return "string" if array.dtype.kind == "U" else str(array.dtype.name)


def has_classes(output: AnyArray, labels: Sequence[str] | None) -> bool:
    """Whether an output holds one number per class."""
    return output.dtype.kind != "U" and is_classes(output.shape, labels)


def labels_for(key: str, outputs: Mapping[str, AnyArray], labels: Sequence[str] | None) -> Sequence[str] | None:
    """The labels that were found, else the keys of a map that the model itself gave out."""
    keys = outputs.get(f"{key}/keys")
    return labels if labels is not None or keys is None else [str(item) for item in keys]
