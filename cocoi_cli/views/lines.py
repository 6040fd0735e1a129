"""Sentences about one inference, and numbers with their units."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from cocoi_cli.planning.plan import LOCAL

if TYPE_CHECKING:
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.report import CheckReport, InferenceReport, Verification


def seconds(value: float) -> str:
    """A duration as people read it: `0.84 ms`, `41 ms`, `2.13 s`."""
    if value >= 1:
        return f"{value:.2f} s"
    thousandths = value * 1000
    return f"{thousandths:.0f} ms" if thousandths >= 10 else f"{thousandths:.2f} ms"


def size(count: float) -> str:
    """A number of bytes: `640 B`, `3.1 kB`, `12.4 MB` (powers of 1000)."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def operations(macs: int) -> str:
    """Multiply-accumulates: `0.8 M`, `1,246.2 M`."""
    return f"{macs / 1e6:,.1f} M"


def plural(count: int, noun: str) -> str:
    """`1 agent`, `6 agents`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def latency(report: InferenceReport, *, embedded: bool) -> str:
    """What the inference took, beside what this machine takes alone, and who is faster."""
    took, alone = report.latency_s, report.baseline_s
    if not any(agent.took_part for agent in report.agents):
        return f"latency {seconds(took)} on this machine alone; plain ONNX Runtime {seconds(alone)}"
    text = f"latency {seconds(took)}; this machine alone {seconds(alone)}"
    if alone <= 0 or took <= 0:
        return text
    if took <= alone:
        return f"{text} ({alone / took:.1f} x faster with the agents)"
    text = f"{text} ({took / alone:.1f} x faster alone)"
    if embedded:
        text += "\nthe agents of an embedded fleet share this machine's cores: no speed to win here"
    return text


def check(report: CheckReport) -> str:
    """The comparison with plain ONNX Runtime."""
    text = f"largest relative difference from plain ONNX Runtime {small(report.max_rel_error)}"
    verdict = {None: "", True: ", top-1 equal", False: ", top-1 differs"}[report.top1_equal]
    return f"{text}\n(tolerance {small(report.tolerance)}){verdict}"


def verification(found: Verification) -> str:
    """Whether the answers of agents agree with each other, as far as there were spare ones."""
    every = found.codewords + found.unchecked
    if not found.codewords:
        return f"verification: nothing could be checked, {found.counted(every)} had no spare answer"
    text = f"the answers to {found.counted(found.codewords)} agree"
    if found.inconsistent:
        text = f"the answers to {found.inconsistent} of {found.counted(found.codewords)} contradict each other"
    rest = f"; {found.unchecked} had no spare answer" if found.unchecked else ""
    return f"verification: {text}{rest}"


def small(value: float) -> str:
    """A small number: `3.1e-4`, `1e-2`, `0`."""
    digits, _, exponent = f"{value:.1e}".partition("e")
    if value == 0 or not exponent:
        return f"{value:g}"
    return f"{digits.removesuffix('.0')}e{int(exponent)}"


def kept(plan: Plan) -> str:
    """Why some conv layers stay on this machine, commonest reason first; empty if none does."""
    if plan.is_local:
        return ""
    reasons = Counter(re.sub(r"^[\d.]+ MMAC: ", "", layer.reason) for layer in plan.layers if layer.scheme == LOCAL)
    if not reasons:
        return ""
    listed = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    return f"{plural(reasons.total(), 'conv layer')} on this machine: {listed}"
