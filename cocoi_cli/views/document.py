"""The JSON document of an inference."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cocoi_cli.model.classes import classify
from cocoi_cli.model.drawing import areas, class_map
from cocoi_cli.views.json_form import plain
from cocoi_cli.views.results import has_classes, labels_for, type_word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.model.sources import FoundPreprocess, Labels
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.report import InferenceReport

AnyArray = NDArray[Any]


def inference_document(
    report: InferenceReport,
    labels: Labels | None,
    preprocess: FoundPreprocess | None,
    plan: Plan | None,
    top: int,
    files: Mapping[str, str],
) -> dict[str, Any]:
    """Everything that a report records, for one input.

    Args:
        report: What the inference left behind.
        labels: Names of classes, if any.
        preprocess: How the picture was prepared, if the input was one.
        plan: What was decided for every conv layer, if a plan was made.
        top: How many classes per output.
        files: What was written: kind (`output`, `trace`) to path.

    Returns:
        A tree of dict, list, str, int, float, bool and None without NaN.
    """
    names = None if labels is None else labels.names
    document: dict[str, Any] = {
        "model": report.model,
        "input": report.input,
        "outputs": {
            name: _output(array, labels_for(name, report.outputs, names), top) for name, array in report.outputs.items()
        },
        "latency_s": report.latency_s,
        "baseline_s": report.baseline_s,
        "plan": plan,
        "stages": list(report.stages),
        "agents": list(report.agents),
        "warnings": list(report.warnings),
        "labels": None if labels is None else {"source": labels.source, "count": len(labels.names)},
        "preprocess": None if preprocess is None else {"source": preprocess.source, **preprocess.how.document()},
        "files": dict(files),
    }
    if report.check is not None:
        document["max_rel_error"] = report.check.max_rel_error
        document["top1_equal"] = report.check.top1_equal
        document["check"] = report.check
    if report.verification is not None:
        document["verification"] = {"passed": report.verification.passed, **asdict(report.verification)}
    return dict(plain(document))


def _output(output: AnyArray, labels: Sequence[str] | None, top: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"shape": list(output.shape), "dtype": type_word(output)}
    if output.dtype.kind == "U":
        entry["values"] = output.reshape(-1)[:top].tolist()
        return entry
    if has_classes(output, labels):
        rows = classify(output, labels, top)
        entry["top"] = rows[0] if len(rows) == 1 else rows
        return entry
    classes = class_map(output, labels)
    if classes is not None:
        entry["areas"] = areas(classes, labels)[:top]
    return entry
