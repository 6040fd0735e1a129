"""What came of work on many devices."""

from __future__ import annotations

import pytest

from cocoi_cli import hints
from cocoi_cli.commands.outcomes import documents, report_failures, status_of
from cocoi_cli.console import Console
from cocoi_cli.fleet.deployed import PreflightError
from cocoi_cli.fleet.errors import UnreachableError
from cocoi_cli.fleet.findings import Finding
from cocoi_cli.fleet.pairs import BrokenKeysError


def results() -> dict[str, str | UnreachableError]:
    return {"pi-1": "fine", "pi-2": UnreachableError("pi-2", "connect", "no answer", kind="timeout")}


def test_each_failure_is_told_with_its_device_stage_cause_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_failures(Console(quiet=True), results()) == 4
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: `pi-2`: connect: no answer"
    assert second.startswith("hint: ")
    assert report_failures(Console(), {"pi-1": "fine"}) == 0
    assert capsys.readouterr().err == ""


def test_documents_hold_results_and_errors_alike() -> None:
    found = documents(results(), lambda text: {"said": text})
    assert found["pi-1"] == {"said": "fine"}
    assert {key: found["pi-2"][key] for key in ("error", "message")} == {
        "error": "ssh-unreachable", "message": "`pi-2`: connect: no answer"
    }  # fmt: skip
    assert found["pi-2"]["details"]["kind"] == "timeout"
    assert found["pi-2"]["hint"]
    assert status_of(results()) == 4


def test_findings_have_a_hint_each_and_each_hint_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding("32-bit-userland", "error", "32-bit system"), Finding("little-disk", "error", "3 MB free")]
    failed = {name: PreflightError(name, findings) for name in ("a", "b")}
    report_failures(Console(quiet=True), failed)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "error", "hint", "hint"]
    assert lines[2:] == [f"hint: {hints.for_code(each.code, {})}" for each in findings]
    assert (hints.for_code("little-disk", {}) or "?") in documents(failed, dict)["a"]["hint"]


def test_failures_that_agree_give_their_own_status() -> None:
    broken = BrokenKeysError([], "half a pair")
    assert status_of({"a": broken, "b": "fine"}) == 3
    assert status_of({"a": broken, "b": UnreachableError("b", "connect", "no answer", kind="timeout")}) == 4
