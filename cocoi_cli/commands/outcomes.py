"""What came of work on many devices: documents, error lines, the exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from cocoi_cli import hints
from cocoi_cli.errors import CocoiError, FleetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cocoi_cli.console import Console

T = TypeVar("T")


def status_of(results: Mapping[str, object]) -> int:
    """The exit status: 0, or that of the failures if they agree, else that of fleets."""
    kinds = {result.exit_status for result in results.values() if isinstance(result, CocoiError)}
    if not kinds:
        return 0
    return kinds.pop() if len(kinds) == 1 else FleetError.exit_status


def report_failures(console: Console, results: Mapping[str, object]) -> int:
    """Say for each device that failed what was being done, why it failed and what to do next.

    A hint that several devices share is said once, after all of them.

    Args:
        console: Where it is said.
        results: What `fleet.contact.each` returned.

    Returns:
        The command's exit status.
    """
    advice: dict[str, None] = {}
    shared: dict[str, list[str]] = {}
    for name, result in results.items():
        if isinstance(result, CocoiError):
            advice.update(dict.fromkeys(hints_of(result)))
            if name in result.message:
                console.marked("error", result.message)
            else:  # it is not about this device, and may have stopped several
                shared.setdefault(result.message, []).append(name)
    for message, names in shared.items():
        console.marked("error", f"{', '.join(f'`{name}`' for name in names)}: {message}")
    for text in advice:
        console.marked("hint", text)
    return status_of(results)


def hints_of(error: CocoiError) -> list[str]:
    """What to do about an error; an error made of several findings has a hint for each."""
    findings = error.details.get("findings")
    if not isinstance(findings, list):
        return [hints.hint(error)]
    found = (hints.for_code(str(each["code"]), each.get("details") or {}) for each in findings)
    return [text for text in found if text] or [hints.hint(error)]


def documents(results: Mapping[str, T | CocoiError], document: Callable[[T], Mapping[str, Any]]) -> dict[str, Any]:
    """One entry per device: what `document` makes of its result, or its error with the hint."""
    return {
        name: error_document(result) if isinstance(result, CocoiError) else dict(document(result))
        for name, result in results.items()
    }


def error_document(error: CocoiError) -> dict[str, Any]:
    """An error of one device among others."""
    hint = "; ".join(hints_of(error))
    return {"error": error.code, "message": error.message, "hint": hint, "details": error.details}
