"""What a doctor found, as text of 80 columns and as a document."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any

from cocoi_cli.views.lines import plural
from cocoi_cli.views.profile import findings_document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cocoi_cli.fleet.doctor import Examination, Repair
    from cocoi_cli.fleet.findings import Finding

WIDTH = 80
_INDENT = 11


def verdict(found: Sequence[Finding]) -> str:
    """`healthy`, or how many findings of each kind."""
    counted = Counter(finding.severity for finding in found)
    parts = [plural(counted[kind], kind) for kind in ("error", "warning", "note") if counted[kind]]
    return ", ".join(parts) or "healthy"


def examination_lines(
    name: str,
    found: Sequence[Finding],
    advice: Callable[[str, Mapping[str, object]], str | None],
    *,
    notes: bool = True,
) -> list[str]:
    """A device, its findings below it, and under each what to do about it."""
    lines = [f"{name}: {verdict(found)}"]
    for finding in found:
        if finding.severity == "note" and not notes:
            continue
        lines += _wrapped(finding.severity, finding.message)
        hint = advice(finding.code, finding.details)
        if hint:
            lines += _wrapped("", hint)
    return lines


def repair_text(repair: Repair) -> str:
    """A repair with the command that would run, before it is asked about."""
    who = "sudo " if repair.root else ""
    return f"{repair.device}: {repair.what}:\n    {who}{repair.command}"


def repair_question(repair: Repair) -> str:
    """The question about a repair."""
    return f"{repair.what} on `{repair.device}`?"


def examination_document(
    examination: Examination, advice: Callable[[str, Mapping[str, object]], str | None]
) -> dict[str, Any]:
    """One device as JSON has it."""
    facts = examination.facts
    return {
        "findings": findings_document(examination.findings, advice),
        "port": {"reached": examination.reach.connected, "cause": examination.reach.kind or None},
        "installed": facts.installed,
        "model": facts.model,
        "os": facts.os,
        "architecture": facts.architecture,
        "temperature_c": facts.condition.temperature_c,
        "throttled": facts.condition.throttled,
        "throttled_since_boot": facts.condition.since_boot,
        "memory_available": facts.memory_available,
        "disks": facts.disks,
        "clock_offset_s": facts.clock_offset_s,
    }


def _wrapped(word: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"  {word}".ljust(_INDENT),
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
