"""A plan as a table that fits 80 columns, as sentences, and as a document."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

from cocoi_cli.planning.plan import SegmentPlan
from cocoi_cli.planning.plan_file import to_tree
from cocoi_cli.planning.reasons import milliseconds, option_words
from cocoi_cli.views.lines import plural, seconds, size
from cocoi_cli.views.tables import WIDTH, explained_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.table import Table

    from cocoi_cli.planning.best_k import BestK
    from cocoi_cli.planning.options import Option
    from cocoi_cli.planning.plan import ConvPlan
    from cocoi_cli.planning.plan_file import PlanDocument
    from cocoi_cli.planning.planner import Decided, Step

HERE = "here"
SHOWN = 0.01  # part of a latency below which what is no convolution is not worth a word


def plan_table(decided: Decided) -> Table:
    """One row per stage: where it is computed, in how many strips or tiles, and what that is expected to take."""
    moved = {step_name(step): _moved(step.option) for step in decided.steps} if decided.worth else {}
    rows = [_row(stage, moved) for stage in _stages(decided)]
    return explained_table(("layer", "where", "cut", "wire", "ms", "moved", "why"), rows, right=(2, 4, 5))


def outcome(decided: Decided) -> str:
    """What the plan comes to, in two to four lines of 80 columns."""
    plan, found = decided.plan, decided.plan.prediction
    if found is None:
        return ""
    of = "" if found.objective == "mean" else f" ({found.objective})"
    if plan.is_local:
        return f"predicted {seconds(found.latency_s)}{of}: everything stays on this machine"
    used = max([layer.n - layer.host for layer in plan.layers] + [each.n - each.host for each in plan.segments])
    whom = plural(used, "device") + (" and this machine" if plan.uses_host else "")
    sent = sum(_moved(step.option) for step in decided.steps)
    bound = sum(_bound(step.option) for step in decided.steps)
    gain = found.local_s / found.latency_s
    shown = decided.rest_s > SHOWN * found.latency_s
    rest = (f"dense layers stay here and take {seconds(decided.rest_s)} of it",) if shown else ()
    return _fitting(
        f"predicted {seconds(found.latency_s)}{of} on {whom}, {gain:.1f} x quicker than here alone",
        f"{size(sent)} moved; no schedule of these stages is below {seconds(bound)}",
        *rest,
    )


def baselines(decided: Decided) -> str:
    """What a plan has to be held against: single machines, and whole pictures in turn."""
    found = decided.plan.prediction
    if found is None:
        return ""
    alone = [f"this machine {seconds(found.local_s)}"]
    if found.device_s is not None:
        alone.append(f"{found.device} {seconds(found.device_s)}")
    text = f"alone: {', '.join(alone)}"
    if found.round_robin_s is None:
        return _fitting(f"{text}; no device has room for the whole model")
    return _fitting(f"{text}; whole pictures in turn: {seconds(found.round_robin_s)} each")


def why_text(decided: Decided, choices: Mapping[str, BestK]) -> str:
    """The alternatives of every stage, the quickest of each kind, and the paper's choice of k beside the exact one."""
    lines: list[str] = []
    for step in decided.steps:
        lines.append(f"{step_name(step)}: {option_words(step.option)}{_limits(step.option)}")
        lines += [f"  else {option_words(each)}" for each in _kinds(step)]
        for layer in step.layers:
            found = choices.get(layer.name)
            if found is not None:
                name = "" if len(step.layers) == 1 else f" of {layer.name}"
                lines.append(f"  whole shares of {found.n}{name}: k* = {found.exact}, k° = {found.surrogate}")
    if not decided.worth:
        lines.append("in all that wins too little: everything stays on this machine")
    if choices:
        lines.append("k*: the best k by the exact latency; k°: by the paper's approximation")
    return _fitting(*lines, indent=4)


def plan_document(
    document: PlanDocument, decided: Decided, choices: Mapping[str, BestK], written: str | None
) -> dict[str, Any]:
    """The plan as it is written, with the alternatives of every stage."""
    return to_tree(document) | {
        "written": written,
        "stages": [
            {
                "name": step_name(step),
                "layers": [layer.name for layer in step.layers],
                "chosen": decided.worth,
                "option": _option(step.option),
                "alternatives": [_option(each) for each in _kinds(step)],
                "k": {
                    layer.name: {"n": found.n, "exact": found.exact, "surrogate": found.surrogate}
                    for layer in step.layers
                    if (found := choices.get(layer.name)) is not None
                },
            }
            for step in decided.steps
        ],
    }


def step_name(step: Step) -> str:
    """The segment's name, or the layer's."""
    return step.layers[0].name if step.segment is None else step.segment.name


def _fitting(*lines: str, indent: int = 0) -> str:
    return "\n".join("\n".join(wrap(line, WIDTH, subsequent_indent=" " * indent)) for line in lines)


def _stages(decided: Decided) -> Iterator[ConvPlan | SegmentPlan]:
    """Segments in place of the layers inside them."""
    segments = {segment.name: segment for segment in decided.plan.segments}
    for layer in decided.plan.layers:
        if not layer.segment:
            yield layer
        elif layer.segment in segments:
            yield segments.pop(layer.segment)


def _row(stage: ConvPlan | SegmentPlan, moved: Mapping[str, float]) -> tuple[str, ...]:
    predicted = "" if stage.seconds is None else f"{stage.seconds * 1000:.1f}"
    # What the columns beside it say, and what every row would say, is left out.
    reason = stage.reason.replace(" quicker", "").replace(" decides", "").replace("agents would take", "agents:")
    wire = stage.transport if stage.transport == stage.answers else f"{stage.transport}/{stage.answers}"
    if isinstance(stage, SegmentPlan):
        where = f"fused on {stage.n}"
        return stage.name, where, str(stage.tiles), wire, predicted, _sent(moved, stage.name), reason
    if not stage.distributed:
        return stage.layer, HERE, "", "", predicted, "", reason
    where = f"hedged on {stage.n}" if stage.scheme == "hedged" else f"{stage.scheme} ({stage.n},{stage.k})"
    return stage.layer, where, str(stage.strips), wire, predicted, _sent(moved, stage.layer), reason


def _sent(moved: Mapping[str, float], name: str) -> str:
    return size(moved[name]) if moved.get(name) else ""


def _kinds(step: Step) -> list[Option]:
    """Of the other options the quickest of each kind, and the quickest of the same kind."""
    found: dict[str, Option] = {}
    for each in step.others:
        found.setdefault(each.scheme, each)
    return sorted(found.values(), key=lambda option: option.mean)


def _limits(option: Option) -> str:
    estimate = option.estimate
    if estimate is None:
        return ""
    return f"; {estimate.limit} decides; never below {milliseconds(estimate.bound_s)}"


def _option(option: Option) -> dict[str, Any]:
    chosen, estimate = option.candidate, option.estimate
    return {
        "scheme": option.scheme,
        "n": 0 if chosen is None else chosen.n,
        "k": 0 if chosen is None else chosen.k,
        "strips": 0 if chosen is None else chosen.strips,
        "transport": None if chosen is None else chosen.transport,
        "reply": None if chosen is None else chosen.reply,
        "host": chosen is None or chosen.host,
        "mean_s": option.mean,
        "bound_s": None if estimate is None else estimate.bound_s,
        "bytes_up": 0 if estimate is None else round(estimate.up),
        "bytes_down": 0 if estimate is None else round(estimate.down),
        "limit": None if estimate is None else estimate.limit,
    }


def _moved(option: Option) -> float:
    return 0.0 if option.estimate is None else option.estimate.up + option.estimate.down


def _bound(option: Option) -> float:
    return option.mean if option.estimate is None else option.estimate.bound_s
