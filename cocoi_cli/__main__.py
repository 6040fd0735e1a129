"""The door: runs the command line and turns every error into a message, a hint and an exit status."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from typer.exceptions import Abort, TyperException
from typer.main import get_command

from cocoi_cli import hints
from cocoi_cli.app import app
from cocoi_cli.console import Console
from cocoi_cli.errors import CocoiError
from cocoi_cli.views.json_form import json_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

BUG_STATUS = 70
INTERRUPTED_STATUS = 130


class Terminated(BaseException):
    """The system wants this process to end: what is open is closed on the way out, as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> None:
    """Run `cocoi` with the process's arguments and leave with the documented status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` has told us to ignore SIGHUP
            signal.signal(number, _terminate)
    leave(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status. Whatever goes wrong has then been said."""
    # Decided before parsing, because a parsing error must be a document too.
    console = Console(json="--json" in arguments)
    root = get_command(app)
    typed = _typed(root, arguments)
    try:
        # Outside standalone mode typer raises its errors and returns the status of an `Exit`.
        status = root(args=list(arguments), prog_name="cocoi", standalone_mode=False)
    except CocoiError as error:
        _say(console, error.code, error.message, hints.hint(error, typed), error.details)
        return error.exit_status
    except TyperException as error:
        return _usage(console, error)
    except (KeyboardInterrupt, Abort):
        _say(console, "interrupted", "interrupted", hints.again(arguments, typed), {})
        return INTERRUPTED_STATUS
    except Terminated as end:
        name = signal.Signals(end.number).name
        _say(console, "terminated", f"ended by {name}", hints.again(arguments, typed), {"signal": name})
        return 128 + end.number
    except BrokenPipeError:
        _forget_output()
        return 1
    except Exception as error:
        import traceback  # noqa: PLC0415  (only for our own mistakes)

        sys.stderr.write(traceback.format_exc())
        text = f"this is a bug in cocoi: {type(error).__name__}: {error}"
        _say(console, "bug", text, hints.BUG, {"exception": type(error).__name__})
        return BUG_STATUS
    if status == INTERRUPTED_STATUS:
        # typer has turned Ctrl-C into this status.
        _say(console, "interrupted", "interrupted", hints.again(arguments, typed), {})
    return status if isinstance(status, int) else 0


def leave(status: int) -> NoReturn:
    """Flush what is left and exit; a reader that has gone away is no reason for a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        _forget_output()
    sys.exit(status)


def _typed(command: object, arguments: Sequence[str]) -> str:
    """The words of the command that was typed, without `cocoi`: `bench`, `model info`; empty where it is none."""
    words = []
    for word in arguments:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        words.append(word)
    return " ".join(words)


def _terminate(number: int, _: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGHUP):
        # The way out is short, and must not be cut off. Not SIG_IGN, which programs started on it would inherit.
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, _unheard)
    raise Terminated(number)


def _unheard(number: int, _: FrameType | None) -> None:
    """Does nothing with a signal."""


def _usage(console: Console, error: TyperException) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "cocoi"
    if type(error).__name__ == "NoArgsIsHelpError":
        # The message is the whole help text.
        sys.stderr.write(error.format_message() + "\n")
        return error.exit_code
    text = re.sub(r"'([^']*)'", r"`\1`", error.format_message().strip().rstrip(".")).replace("Value error, ", "")
    text = re.sub(r"(?:^|(?<=: ))[A-Z](?=[a-z])", lambda found: found[0].lower(), text)
    _say(console, "usage", text, f"`{path} --help` shows how it is used", {"command": path})
    return error.exit_code


def _say(console: Console, code: str, message: str, hint: str, details: dict[str, object]) -> None:
    try:
        if console.json:
            console.document(json_text({"error": code, "message": message, "hint": hint, "details": details}))
        else:
            console.marked("error", message)
            console.marked("hint", hint)
    except (OSError, CocoiError):
        # Nobody can be told any more; the status still says it.
        _forget_output()


def _forget_output() -> None:
    """Let Python's own flush at exit go nowhere, as its documentation advises for broken pipes."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


if __name__ == "__main__":
    main()
