"""The self-test of a version inside the sandbox of its own unit, before anything is switched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.ondevice import disk, service, units, versions
from cocoi_cli.fleet.ondevice.common import Failure, progress
from cocoi_cli.fleet.ondevice.layout import TRIAL, TRIAL_UNIT, UNIT

if TYPE_CHECKING:
    from cocoi_cli.fleet.ondevice.layout import Layout

TIMEOUT_S = 120

_TAIL = 2000
_KILLED = ("2", "3")  # CLD_KILLED, CLD_DUMPED: what `ExecMainStatus` tells is then a signal


def run(layout: Layout, ident: str) -> dict[str, Any]:
    """Test a version; what the agent's self-test tells, with `ok`.

    A service of its own runs once and leaves nothing. The running agent is not touched.

    Raises:
        Failure: `self-test-failed` with `status`, `signal` (0 if none), `result` of the unit and `output`.
    """
    folder = versions.require(layout, ident)
    text = (folder / UNIT).read_text("utf-8")
    command = [str(folder / "bin/cocoi-agent"), "--self-test"]
    clean(layout)
    progress("testing ONNX Runtime in the sandbox")
    try:
        disk.make_folder(layout.trial_unit.parent)
        unit = units.trial_unit(text, command, TRIAL, str(layout.trial_output), TIMEOUT_S)
        disk.write(layout.trial_unit, unit.encode())
        service.read_units(layout)
        status, said = service.systemctl(layout, "start", TRIAL_UNIT, timeout_s=TIMEOUT_S + 60.0)
        found = service.properties(layout, TRIAL_UNIT) if status else {}
        output = _output(layout)
    finally:
        clean(layout)
    told = _told(output)
    if status == 0 and told is not None and told.get("ok") is True:
        return told
    raise _failure(found, output or said)


def clean(layout: Layout) -> None:
    """Remove whatever a test has left, also one that was cut off."""
    left = [path for path in (layout.trial_output, *layout.trial_made) if disk.present(path)]
    known = disk.present(layout.trial_unit)
    if known:
        service.stop(layout, TRIAL_UNIT)
        service.forget(layout, TRIAL_UNIT)
    for path in left:
        disk.remove(path)
    if known:  # last: while the unit is there, a test that was cut off is known to be
        disk.remove(layout.trial_unit)
        service.read_units(layout)


def _output(layout: Layout) -> str:
    try:
        return layout.trial_output.read_text("utf-8", "replace")
    except OSError:
        return ""


def _told(output: str) -> dict[str, Any] | None:
    for line in reversed(output.splitlines()):
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            return document
    return None


def _failure(found: dict[str, str], output: str) -> Failure:
    number = int(found.get("ExecMainStatus") or 0)
    killed = found.get("ExecMainCode") in _KILLED
    result = found.get("Result", "")
    tail = output.strip()[-_TAIL:]
    if killed:
        text = f"the self-test was ended by signal {number}"
    else:
        text = "the self-test failed: " + ((tail.splitlines() or [result or "no output"])[-1])
    status = 0 if killed else number
    return Failure("self-test-failed", text, status=status, signal=number if killed else 0, result=result, output=tail)
