"""Questions on a terminal, and password files."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import sys
import termios
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cocoi_cli.commands.contacting import PasswordFileError, access
from cocoi_cli.console import Console
from cocoi_cli.fleet.access import Access, Secret, answered

T = TypeVar("T")


# --- password files


def test_password_files_give_their_first_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    login, root = tmp_path / "login", tmp_path / "root"
    for path, text in ((login, "  with blanks \r\nsecond\n"), (root, "raspberry")):
        path.write_text(text, newline="")
        path.chmod(0o600)
    found = access(Console(), password_file=str(login), sudo_password_file=root, accept_new=True)
    assert found.passwords.ssh == [Secret("  with blanks ")]
    assert found.passwords.sudo == [Secret("raspberry")]
    assert found.accept_new
    assert "raspberry" not in repr(found)
    assert capsys.readouterr().err == ""


def test_a_password_file_that_others_may_read_is_warned_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "word"
    path.write_text("raspberry\n")
    path.chmod(0o644)
    assert access(Console(quiet=True), password_file=path).passwords.ssh == [Secret("raspberry")]
    assert capsys.readouterr().err == (
        f"warning: `{path}` can be read by others: `chmod 600` keeps its password to you\n"
    )


@pytest.mark.parametrize(("content", "reason"), [(b"\nlater", "its first line is empty"), (b"\xff\xfe", "not text")])
def test_a_password_file_without_a_password_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "word"
    path.write_bytes(content)
    with pytest.raises(PasswordFileError, match=reason):
        access(Console(), sudo_password_file=path)
    with pytest.raises(PasswordFileError, match="no such file or directory"):
        access(Console(), password_file=tmp_path / "absent")


# --- questions


def test_without_a_terminal_nobody_is_asked() -> None:
    found = access(Console())
    assert found.passwords.ask is None
    assert found.confirm_host_key is None


@dataclass
class Terminal:
    """A terminal with somebody at it."""

    typing: int

    def type(self, text: str) -> None:
        os.write(self.typing, text.encode())

    def shown(self, end: str) -> str:
        """All that appears until a text has appeared."""
        seen = b""
        while not seen.endswith(end.encode()):
            assert select.select([self.typing], [], [], 10)[0], f"nothing follows {seen!r}"
            seen += os.read(self.typing, 1)
        return seen.decode()


@contextmanager
def at_a_terminal() -> Iterator[Terminal]:
    """A terminal for standard input and error. Not a fixture: pytest changes the streams after those."""
    ours, theirs = pty.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[3] |= termios.ECHO | termios.ICANON | termios.ISIG
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    with (
        os.fdopen(theirs, "r", encoding="utf-8") as inside,
        os.fdopen(os.dup(theirs), "w", encoding="utf-8") as outside,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "stdin", inside)
        patch.setattr(sys, "stderr", outside)
        patch.setenv("NO_COLOR", "1")
        yield Terminal(ours)
        # Whatever was asked, what is typed next is shown again.
        assert termios.tcgetattr(inside)[3] & termios.ECHO
    os.close(ours)


async def ask_password(found: Access, question: str) -> str:
    assert found.passwords.ask is not None
    return await answered(found.passwords.ask, question)


async def ask_host_key(found: Access) -> bool:
    assert found.confirm_host_key is not None
    return await answered(found.confirm_host_key, "pi-1", "SHA256:abc")


async def typed(terminal: Terminal, question: Coroutine[Any, Any, T], prompts: dict[str, str]) -> tuple[T, str]:
    """Put a question, type an answer at each prompt, return the last answer and all that was shown."""

    def somebody() -> str:
        shown = ""
        for prompt, answer in prompts.items():
            shown += terminal.shown(prompt)
            terminal.type(answer)
        return shown

    answer, shown = await asyncio.gather(question, asyncio.to_thread(somebody))
    return answer, shown


def test_a_password_is_asked_for_and_not_shown() -> None:
    with at_a_terminal() as terminal:
        question = ask_password(access(Console()), "password of `pi`")
        answer, shown = asyncio.run(typed(terminal, question, {"`pi`: ": "rasp bérry\n"}))
        assert answer == "rasp bérry"
        assert shown == "password of `pi`: "
        sys.stderr.write("end")
        sys.stderr.flush()
        assert terminal.shown("end") == "\r\nend"


@pytest.mark.parametrize(
    ("answers", "agreed"), [(["y"], True), (["YES "], True), ([""], False), (["no"], False), (["what", "y"], True)]
)
def test_a_host_key_is_shown_and_only_a_clear_yes_accepts_it(answers: list[str], agreed: bool) -> None:
    prompts = {"[y/N] ": f"{answers[0]}\n"}
    if len(answers) > 1:
        prompts[f"{answers[0]}\r\nis that the key of this device? [y/N] "] = f"{answers[1]}\n"
    with at_a_terminal() as terminal:
        answer, shown = asyncio.run(typed(terminal, ask_host_key(access(Console())), prompts))
    assert answer is agreed
    assert "warning: `pi-1` is contacted for the first time; its host key is SHA256:abc" in " ".join(shown.split())


def test_what_was_typed_ahead_accepts_no_host_key() -> None:
    with at_a_terminal() as terminal:
        terminal.type("y\n")
        answer, _ = asyncio.run(typed(terminal, ask_host_key(access(Console())), {"[y/N] ": "n\n"}))
    assert not answer


def test_what_moves_on_the_screen_steps_aside_for_a_question() -> None:
    seen = []

    @contextmanager
    def aside() -> Iterator[None]:
        seen.append("aside")
        yield
        seen.append("back")

    with at_a_terminal() as terminal:
        console = Console()
        found = access(console)
        console.around_questions = aside
        asyncio.run(typed(terminal, ask_host_key(found), {"[y/N] ": "y\n"}))
        asyncio.run(typed(terminal, ask_password(found, "q"), {"q: ": "word\n"}))
    assert seen == ["aside", "back"] * 2


def test_yes_is_no_yes_to_an_unknown_host_key() -> None:
    with at_a_terminal():
        found = access(Console(), yes=True)
    assert found.confirm_host_key is None
    assert not found.accept_new
    assert found.passwords.ask is not None


@pytest.mark.parametrize("end", ["Ctrl-C", "Ctrl-D"])
def test_an_interrupt_at_a_question_ends_the_command_and_shows_typing_again(end: str) -> None:
    async def main(terminal: Terminal) -> None:
        def somebody() -> None:
            terminal.shown("`pi`: ")
            if end == "Ctrl-C":
                os.kill(os.getpid(), signal.SIGINT)  # as a terminal that controls this process would
            else:
                terminal.type("\x04")

        await asyncio.gather(ask_password(access(Console()), "password of `pi`"), asyncio.to_thread(somebody))

    with at_a_terminal() as terminal, pytest.raises(KeyboardInterrupt):
        asyncio.run(main(terminal))
