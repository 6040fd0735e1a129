"""The one object that talks to the user.

Results go to standard output, everything else to standard error. Text is coloured only
on a terminal and only while NO_COLOR is unset. rich is imported for tables and bars only.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, TextIO

from cocoi_cli.visible import escaped, harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from rich.console import Console as RichConsole
    from rich.console import RenderableType

_MARKS = {"error": "\x1b[1;31m", "warning": "\x1b[33m", "hint": "\x1b[36m"}
_END = "\x1b[0m"


class Console:
    """Two streams and how much to say on them.

    Attributes:
        json: Standard output carries one JSON document and nothing else.
        quiet: Only results, warnings and errors.
        around_questions: Makes the screen free for a question: whatever moves there steps aside.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self.around_questions: Callable[[], AbstractContextManager[None]] = nullcontext

    def result(self, text: str) -> None:
        """An answer, for people: standard output, unless a document is going there."""
        if not self.json:
            _put(sys.stdout, harmless(text) + "\n")

    def document(self, text: str) -> None:
        """A JSON document on standard output."""
        _put(sys.stdout, escaped(text))

    def note(self, text: str) -> None:
        """Something worth knowing, if the user wants to know."""
        if not self.quiet:
            _put(sys.stderr, harmless(text) + "\n")

    def warning(self, text: str) -> None:
        """Something the user should know."""
        self.marked("warning", text)

    def marked(self, word: str, text: str) -> None:
        """A line that begins with a coloured `error:`, `warning:` or `hint:`."""
        start, end = (_MARKS[word], _END) if colorful(sys.stderr) else ("", "")
        indent = " " * (len(word) + 2)
        text = harmless(text)
        broken = _wrapped(text, len(indent)) if sys.stderr.isatty() else text.split("\n")
        _put(sys.stderr, f"{start}{word}:{end} " + f"\n{indent}".join(broken) + "\n")

    def table(self, table: RenderableType) -> None:
        """A table on standard error, if the user wants to know."""
        if not self.quiet:
            self._print(sys.stderr, table)

    def print_result(self, table: RenderableType) -> None:
        """A table that is the answer itself: standard output."""
        self._print(sys.stdout, table)

    def rich(self) -> RichConsole:
        """View of standard error for rich, at the width of the terminal; 80 columns in a pipe."""
        return self._rich(sys.stderr)

    @property
    def terminal(self) -> bool:
        """Whether standard error is a terminal that can redraw a line."""
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    @contextmanager
    def busy(self, text: str) -> Iterator[Callable[[str], None]]:
        """While something takes long: a line on a terminal that says what, gone afterwards.

        Args:
            text: What is done at first.

        Yields:
            Says what is done next.
        """
        if self.quiet or not self.terminal:
            yield lambda _: None
            return
        with self.rich().status(text) as status:
            yield status.update

    @property
    def interactive(self) -> bool:
        """Whether somebody can be asked: questions go to standard error, answers come from the terminal."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def ask(self, text: str, *, secret: bool = False) -> str:
        """Ask for a line; a secret one is not shown while it is typed.

        Only where `interactive`. Ctrl-D counts as Ctrl-C: the command ends.
        """
        with self.around_questions():
            try:
                if secret:
                    import getpass  # noqa: PLC0415  (only for passwords)

                    return getpass.getpass(f"{text}: ", sys.stderr)
                _forget_typed()
                _put(sys.stderr, f"{text}: ")
                line = sys.stdin.readline()
            except EOFError:
                raise KeyboardInterrupt from None
        if not line:
            raise KeyboardInterrupt
        return line.rstrip("\n")

    def confirm(self, text: str, *, default: bool = False) -> bool:
        """Ask a question that yes or no answers; an empty answer is the default. Only where `interactive`."""
        while True:
            answer = self.ask(f"{text} [{'Y/n' if default else 'y/N'}]").strip().lower()
            if answer in {"", "y", "yes", "n", "no"}:
                return default if not answer else answer.startswith("y")

    def _print(self, stream: TextIO, table: RenderableType) -> None:
        console = self._rich(stream)
        with console.capture() as captured:
            console.print(table)
        # Rich fills the last column with blanks, which only hurts when output is copied or compared.
        _put(stream, "".join(f"{line.rstrip()}\n" for line in harmless(captured.get()).splitlines()))

    @staticmethod
    def _rich(stream: TextIO) -> RichConsole:
        from rich.console import Console as RichConsole  # noqa: PLC0415  (30 ms that `--help` does not need)

        return RichConsole(file=stream, highlight=False, soft_wrap=False, emoji=False)


def _forget_typed() -> None:
    """Throw away what was typed before the question was there to be read."""
    if sys.stdin.isatty():
        import termios  # noqa: PLC0415  (where there is a terminal, there is this module)

        termios.tcflush(sys.stdin, termios.TCIFLUSH)


def colorful(stream: TextIO) -> bool:
    """Whether colour is welcome: a terminal that can, and NO_COLOR unset or empty."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _wrapped(text: str, indent: int) -> list[str]:
    """Lines for the terminal's width; a pipe gets the text whole, so that it can be searched."""
    width = max(40, shutil.get_terminal_size().columns - indent)
    each = [textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) for line in text.split("\n")]
    return [line for lines in each for line in lines or [""]]


def _put(stream: TextIO, text: str) -> None:
    # A name that the terminal's encoding lacks must not cost the answer.
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        from cocoi_cli.files import OutputNotWritableError  # noqa: PLC0415  (only when a disk is full)

        name = "standard output" if stream is sys.stdout else "standard error"
        raise OutputNotWritableError(name, "", str(error.strerror)) from error
