"""A model as text, table and document."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from cocoi_cli.model.pictures import shape_text
from cocoi_cli.model.sources import LABELS_KEY, PREPROCESS_KEY
from cocoi_cli.views.lines import operations, plural, size
from cocoi_cli.views.tables import plain_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from cocoi_cli.model.network import ConvLayer, LoadedModel, TensorInfo
    from cocoi_cli.model.preprocess import Preprocess
    from cocoi_cli.model.sources import FoundPreprocess, Labels

_INDENT = 16


@dataclass(frozen=True, slots=True)
class Described:
    """What is known about a model without running it.

    Attributes:
        model: The model.
        size: Bytes of the file.
        labels: Names of its classes, if any are found.
        preprocess: How pictures are prepared; None where it takes none.
        no_picture: Why it takes no picture; empty where it does.
        layers: Its convolutions at the sizes that `assumed` tells.
        assumed: What was assumed about open sizes; empty where nothing was.
    """

    model: LoadedModel
    size: int
    labels: Labels | None
    preprocess: FoundPreprocess | None
    no_picture: str
    layers: tuple[ConvLayer, ...]
    assumed: str


def info_text(described: Described) -> str:
    """A few lines about the model as a whole; the layers have a table of their own."""
    model = described.model
    rows = [("model", f"{model.name} ({size(described.size)}, operator set {model.opset})"), ("file", str(model.path))]
    rows += [("input", f"{info.name}  {shape_text(info)}") for info in model.inputs]
    rows += [("output", f"{info.name}  {shape_text(info)}") for info in model.outputs]
    rows.append(("labels", _labels(described.labels)))
    rows.append(("preprocessing", _preprocess(described)))
    shown = {key: value for key, value in model.metadata.items() if key not in {LABELS_KEY, PREPROCESS_KEY}}
    rows += [("metadata", f"{key} = {_short(value)}") for key, value in sorted(shown.items())]
    rows.append(("conv layers", _summary(described.layers)))
    if described.assumed:
        rows.append(("", described.assumed))
    return "\n".join(line for name, text in rows for line in _row(name, text))


def layers_table(layers: Sequence[ConvLayer]) -> Table:
    """One row per convolution: sizes, work, and whether agents can take it."""
    table = plain_table()
    table.add_column("conv layer", no_wrap=True, overflow="ellipsis", min_width=12, max_width=28)
    table.add_column("kernel", no_wrap=True, min_width=6)
    table.add_column("output", no_wrap=True, min_width=12)
    table.add_column("MMAC", justify="right", no_wrap=True, min_width=7)
    table.add_column("distributable", overflow="fold", min_width=14)
    for layer in layers:
        kernel = "" if layer.spec is None else "x".join(map(str, layer.spec.kernel))
        output = "x".join(map(str, layer.output_shape)) or "?"
        verdict = Text("yes") if layer.obstacle is None else Text(f"no: {layer.obstacle}", style="dim")
        table.add_row(Text(layer.name), kernel, output, f"{layer.macs / 1e6:,.1f}", verdict)
    return table


def models_table(described: Sequence[Described]) -> Table:
    """One row per shipped model."""
    table = plain_table()
    for name in ("model", "input", "labels", "conv layers", "size"):
        table.add_column(name, no_wrap=True)
    for each in described:
        inputs = ", ".join(shape_text(info) for info in each.model.inputs)
        labels = "-" if each.labels is None else str(len(each.labels.names))
        table.add_row(Text(each.model.name), Text(inputs), labels, str(len(each.layers)), size(each.size))
    return table


def info_document(described: Described) -> dict[str, Any]:
    """Everything as a JSON tree."""
    model, labels, found = described.model, described.labels, described.preprocess
    return {
        "name": model.name,
        "path": str(model.path),
        "bytes": described.size,
        "sha256": model.sha256,
        "opset": model.opset,
        "inputs": [_tensor(info) for info in model.inputs],
        "outputs": [_tensor(info) for info in model.outputs],
        "metadata": dict(model.metadata),
        "labels": None
        if labels is None
        else {"source": labels.source, "count": len(labels.names), "names": labels.names},
        "preprocess": None if found is None else {"source": found.source, **found.how.document()},
        "layers": [_layer(layer) for layer in described.layers],
        "assumed": described.assumed or None,
    }


def _row(name: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(text, 79 - _INDENT, break_on_hyphens=False) or [""]
    return [f"{name if at == 0 else '':{_INDENT}}{line}".rstrip() for at, line in enumerate(wrapped)]


def _labels(labels: Labels | None) -> str:
    if labels is None:
        return "none found: classes are shown by number"
    shown = ", ".join(labels.names[:3]) + (", ..." if len(labels.names) > 3 else "")
    return f"{len(labels.names)} from {labels.source}: {shown}"


def _preprocess(described: Described) -> str:
    found = described.preprocess
    if found is None:
        return f"none: {described.no_picture}"
    how = found.how
    steps = [how.color]
    if how.resize.mode != "none":
        size_text = _size(how.resize.size)
        if how.resize.mode == "short-side":
            size_text = size_text.partition("x")[0]
        steps.append(" ".join(filter(None, (how.resize.mode, size_text, how.resize.filter))))
    if how.crop is not None:
        steps.append(f"centre crop {_size(how.crop.size)}".rstrip())
    steps.append(_formula(how))
    return f"{', '.join(steps)}; from {found.source}"


def _formula(how: Preprocess) -> str:
    value = "v"
    if how.scale != 1:
        inverse = 1 / how.scale
        value = f"v / {inverse:.6g}" if abs(inverse - round(inverse)) < 1e-6 * inverse else f"v * {how.scale:.6g}"
    if any(how.mean):
        value = f"{value} - {_numbers(how.mean)}"
    if how.std == (1.0,):
        return value
    return f"({value}) / {_numbers(how.std)}" if value != "v" else f"v / {_numbers(how.std)}"


def _size(pair: tuple[int, int] | None) -> str:
    return "" if pair is None else f"{pair[1]}x{pair[0]}"


def _numbers(values: tuple[float, ...]) -> str:
    text = ", ".join(f"{value:.6g}" for value in values)
    return text if len(values) == 1 else f"({text})"


def _summary(layers: Sequence[ConvLayer]) -> str:
    if not layers:
        return "none"
    free = sum(layer.obstacle is None for layer in layers)
    total = sum(layer.macs for layer in layers)
    return f"{plural(len(layers), 'layer')}, {free} distributable, {operations(total)}MAC in all"


def _short(value: str) -> str:
    flat = " ".join(value.split())
    return flat if len(flat) <= 100 else f"{flat[:90]}... ({len(value)} characters)"


def _tensor(info: TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "dtype": info.dtype, "shape": None if info.shape is None else list(info.shape)}


def _layer(layer: ConvLayer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kernel": None if layer.spec is None else list(layer.spec.kernel),
        "strides": None if layer.spec is None else list(layer.spec.strides),
        "group": None if layer.spec is None else layer.spec.group,
        "input_shape": list(layer.input_shape),
        "output_shape": list(layer.output_shape),
        "dtype": layer.dtype,
        "macs": layer.macs,
        "obstacle": layer.obstacle,
    }
