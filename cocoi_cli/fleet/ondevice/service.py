"""Talking to the device's service manager, by its own commands."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.ondevice import ledger
from cocoi_cli.fleet.ondevice.common import Failure
from cocoi_cli.fleet.ondevice.layout import UNIT, USER, runtime_folder

if TYPE_CHECKING:
    from cocoi_cli.fleet.ondevice.layout import Layout

START_TIMEOUT_S = 180.0  # above the unit's own TimeoutStopSec + TimeoutStartSec
JOURNAL_LINES = 20

_PROPERTIES = "ActiveState,SubState,MainPID,NRestarts,Result,ExecMainCode,ExecMainStatus,StateChangeTimestampMonotonic"
_NO_MANAGER = "Failed to connect to bus"


def systemctl(layout: Layout, *arguments: str, timeout_s: float = 60.0) -> tuple[int, str]:
    """Run systemctl for this install; exit status and what it wrote, both streams.

    Raises:
        Failure: `no-systemd`; `no-user-manager`; `systemd-timeout`.
    """
    command = ["systemctl", *(["--user"] if layout.mode == USER else []), "--no-ask-password", *arguments]
    status, text = _run(command, timeout_s)
    if status and _NO_MANAGER in text:
        code, whose = ("no-user-manager", "the user's") if layout.mode == USER else ("no-systemd", "the system's")
        raise Failure(code, f"{whose} service manager does not answer: {text.strip()}", output=text)
    return status, text


def _run(command: list[str], timeout_s: float) -> tuple[int, str]:
    environment = dict(os.environ, LC_ALL="C", XDG_RUNTIME_DIR=runtime_folder(), SYSTEMD_COLORS="0", SYSTEMD_PAGER="")
    try:
        done = subprocess.run(  # noqa: S603 - commands of this module
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise Failure("no-systemd", f"the device has no `{command[0]}`", command=command[0]) from None
    except subprocess.TimeoutExpired:
        text = " ".join(command)
        raise Failure("systemd-timeout", f"`{text}` took more than {timeout_s:g} s", command=text) from None
    return done.returncode, done.stdout.decode("utf-8", "replace")


def properties(layout: Layout, unit: str = UNIT) -> dict[str, str]:
    """What the manager knows of a unit, as `systemctl show` has it; empty if it tells nothing."""
    status, text = systemctl(layout, "show", unit, "--property=" + _PROPERTIES)
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value for key, _, value in pairs} if status == 0 else {}


def state(layout: Layout) -> dict[str, Any]:
    """The agent's state: `active`, `sub`, `pid`, `restarts`, `result`, and `since`, its age in seconds or None."""
    found = properties(layout)
    changed = int(found.get("StateChangeTimestampMonotonic") or 0)
    return {
        "active": found.get("ActiveState", "unknown"),
        "sub": found.get("SubState", "unknown"),
        "pid": int(found.get("MainPID") or 0),
        "restarts": int(found.get("NRestarts") or 0),
        "result": found.get("Result", "unknown"),
        # An age, not a date: the clocks of a fleet do not agree.
        "since": round(time.monotonic() - changed / 1e6, 1) if changed else None,
    }


def is_active(layout: Layout) -> bool:
    """Whether the agent runs and has said that it is ready."""
    return properties(layout).get("ActiveState") == "active"


def read_units(layout: Layout) -> None:
    """Have the manager read its units anew.

    Raises:
        Failure: `systemd` if it refuses.
    """
    status, text = systemctl(layout, "daemon-reload")
    if status:
        raise Failure("systemd", f"systemd does not read its units anew: {text.strip()}", output=text)


def act(layout: Layout, verb: str) -> None:
    """Restart, start or reload the agent, and wait until it is ready.

    Raises:
        Failure: `start-failed` with the end of the journal.
    """
    status, text = systemctl(layout, verb, UNIT, timeout_s=START_TIMEOUT_S)
    found = properties(layout)
    if status == 0 and found.get("ActiveState") == "active":
        return
    raise Failure(
        "start-failed",
        f"the agent did not start: {found.get('Result') or text.strip()}",
        output=journal(layout) or text,
        result=found.get("Result", ""),
        status=int(found.get("ExecMainStatus") or 0),
    )


def stop(layout: Layout, unit: str = UNIT) -> None:
    """Stop a unit, known or not.

    Raises:
        Failure: `stop-failed` if it still runs.
    """
    _, text = systemctl(layout, "stop", unit, timeout_s=START_TIMEOUT_S)
    if properties(layout, unit).get("ActiveState") not in (None, "inactive", "failed"):
        raise Failure("stop-failed", f"`{unit}` does not stop: {text.strip()}", output=text)


def forget(layout: Layout, unit: str = UNIT) -> None:
    """Have the manager forget that a unit has failed."""
    systemctl(layout, "reset-failed", unit)


def journal(layout: Layout, lines: int = JOURNAL_LINES) -> str:
    """The last lines of the agent's journal; empty where it cannot be read."""
    selector = "--user-unit=" if layout.mode == USER else "--unit="
    try:
        status, text = _run(["journalctl", selector + UNIT, f"--lines={lines}", "--output=cat", "--no-pager"], 30.0)
    except Failure:
        return ""
    return text if status == 0 else ""


def has_linger(layout: Layout) -> bool:
    """Whether the user's services run while nobody is logged in."""
    return (layout.root / "var/lib/systemd/linger" / _user_name()).exists()


def keep_running(layout: Layout) -> None:
    """For a user install: have the user's services run without a login, and remember who asked for it.

    Raises:
        Failure: `linger-refused`.
    """
    if layout.mode != USER or has_linger(layout):
        return
    record = ledger.begin(layout)
    ledger.amend(layout, record, linger=True)
    status, text = _run(["loginctl", "--no-ask-password", "enable-linger"], 30.0)
    if status:
        ledger.amend(layout, record, linger=False)
        cause = text.strip()
        raise Failure("linger-refused", f"services of `{_user_name()}` end at logout: {cause}", cause=cause)


def stop_lingering() -> bool:
    """Undo `keep_running`; whether the device allowed it."""
    return _run(["loginctl", "--no-ask-password", "disable-linger"], 30.0)[0] == 0


def _user_name() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
