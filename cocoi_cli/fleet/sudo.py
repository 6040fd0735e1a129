"""How commands are written for a device's shell, as the user or as root. Pure; no password is ever part of one.

Whatever the user's login shell is, it only has to start one program with quoted words.
Messages come in English (`LC_ALL=C`), because some of them are read here.
"""

from __future__ import annotations

import math
import re
import shlex
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Root = Literal["root", "nopasswd", "password"]
"""How a user is root: already, by `sudo` alone, or by `sudo` with a password."""

_LANGUAGE: Final = "LC_ALL=C"

ROOT_ALREADY: Final = '[ "$(id -u)" = 0 ]'
"""A command that ends well if the user is root."""

WITHOUT_PASSWORD: Final = f"exec env {_LANGUAGE} sudo -k -n sh -c true"
"""Ends well if `sudo` needs no password. `-k`: an answer that is still remembered does not count."""

WITH_PASSWORD: Final = f"exec env {_LANGUAGE} sudo -k -S -p '' sh -c true"
"""Ends well if the first line of standard input is the right password; runs the same program as all that follows,
so that the same rule of sudoers applies."""

# The watcher kills the whole process group, because what a shell started would outlive the shell.
_FOLLOW: Final = """\
exec 3<&0
{ %s
} </dev/null 3<&- &
command=$!
{ cat <&3 >/dev/null; kill 0; } >/dev/null 2>&1 &
watcher=$!
wait "$command"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"""

# What `sudo` and its rewrite in Rust say of a wrong password.
_WRONG: Final = re.compile(r"try again|incorrect|no password was provided|authentication fail", re.IGNORECASE)


def as_user(command: Sequence[str] | str) -> str:
    """A line for the login shell: a shell command, or a program with its arguments."""
    return f"exec env {_LANGUAGE} sh -c {shlex.quote(_text(command))}"


def as_root(command: Sequence[str] | str, how: Root, timeout_s: float | None) -> str:
    """The same as root.

    A user may not signal what runs as root, so the device itself ends it after the time
    given, a little later than the host gives up. With `password`, the password is the first line
    of standard input; what follows it is the command's.
    """
    if how == "root":
        return as_user(command)
    inner = f"export {_LANGUAGE}; {_text(command)}"
    if timeout_s is not None:
        inner = f"exec timeout -k 5 {math.ceil(timeout_s) + 2} sh -c {shlex.quote(inner)}"
    flags = "-n" if how == "nopasswd" else "-k -S -p ''"
    return f"exec env {_LANGUAGE} sudo {flags} sh -c {shlex.quote(inner)}"


def followed(command: Sequence[str] | str) -> str:
    """A shell command that also ends when its standard input does, so that it does not outlive the connection."""
    return _FOLLOW % _text(command)


def named(command: Sequence[str] | str) -> str:
    """A command as messages show it: its first line, cut where it gets long."""
    line = _text(command).strip().split("\n", 1)[0]
    return line if len(line) <= 100 else line[:97] + "..."


def refusal(status: int | None, stderr: bytes) -> str | None:
    """Why `sudo` will not serve this user whatever the password, or None if another one may help.

    Args:
        status: Exit status of `WITHOUT_PASSWORD` or `WITH_PASSWORD`, not 0.
        stderr: What it said.
    """
    text = stderr.decode(errors="replace")
    if status == 127:
        return "`sudo` is not installed there"
    if any(words in text for words in ("not in the sudoers file", "is not allowed to", "may not run sudo")):
        return "the user is not allowed to use `sudo` there"
    if "must have a tty" in text or "no tty present" in text:
        return "`sudo` there insists on a terminal (`requiretty`)"
    if "a password is required" in text or "authentication is required" in text or _WRONG.search(text):
        return None
    said = text.strip().rsplit("\n", 1)[-1]
    return f"`sudo` there says: {said}" if said else f"`sudo` there ended with status {status}"


def _text(command: Sequence[str] | str) -> str:
    return command if isinstance(command, str) else shlex.join(command)
