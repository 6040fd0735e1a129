"""The machine of somebody who operates a fleet: runs the installed `cocoi` from a home of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LONGEST_S = 300.0  # no command takes as long on two slow cores; one that does hangs

NOT_OURS = ("COCOI_", "XDG_", "SSH_", "PYTHON")


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended: its exit status, what it said, and how long it took."""

    words: tuple[str, ...]
    status: int
    out: str
    err: str
    seconds: float

    @property
    def document(self) -> Any:
        """The JSON document on standard output."""
        return json.loads(self.out)

    def ok(self, status: int = 0) -> Done:
        """The same, if it ended as it should; never with a traceback."""
        assert "Traceback" not in self.err, self
        assert self.status == status, self
        return self

    def __str__(self) -> str:
        return f"`cocoi {' '.join(self.words)}` ended with {self.status}\n{self.out}{self.err}"


def told(done: Done, status: int) -> str:
    """What a command that had to fail said: error, then hint, and never a traceback."""
    done.ok(status)
    assert re.search(r"^error: .", done.err, re.MULTILINE), done
    assert re.search(r"^hint: .", done.err, re.MULTILINE), done
    return done.err


@dataclass
class Running:
    """A command that runs: what it has said on standard error so far, and a way to end it."""

    process: subprocess.Popen[str]
    words: tuple[str, ...]
    log: Path
    begin: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)

    def read(self, wanted: str | int) -> str | None:
        """Read standard error until a line holds this text, or until there are so many lines.

        Returns:
            The line; None if the command ended before.
        """
        stream = self.process.stderr
        assert stream is not None
        for line in stream:
            self.lines.append(line)
            if len(self.lines) >= wanted if isinstance(wanted, int) else wanted in line:
                return line
        return None

    def kill(self) -> None:
        """SIGKILL: nothing of it gets to tidy up."""
        self.process.kill()
        self.process.communicate()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def finish(self) -> Done:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=LONGEST_S)
        seconds = time.monotonic() - self.begin
        done = Done(self.words, self.process.returncode, out, "".join(self.lines) + err, seconds)
        with self.log.open("a") as file:
            file.write(f"{time.strftime('%H:%M:%S')} after {seconds:.1f} s: {done}\n")
        return done


def _interruptible() -> None:
    """A shell has its background jobs ignore Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Host:
    """Somebody with a home folder.

    Attributes:
        home: Its path: configuration, keys and `~/.ssh` are there, wheels in a cache shared with others.
        env: Further environment variables of every command.
    """

    def __init__(self, home: Path, cache: Path, prefix: Sequence[str]) -> None:
        self.home = home
        self.env: dict[str, str] = {}
        self._cache = cache
        self._prefix = list(prefix)
        self._started: list[Running] = []

    @property
    def fleet_file(self) -> Path:
        """Where the fleet file is when nothing else is said."""
        return self.home / ".config" / "cocoi" / "fleet.toml"

    @property
    def data(self) -> Path:
        """The folder with the keys of its one fleet."""
        (folder,) = (self.home / ".local" / "share" / "cocoi").iterdir()
        return folder

    def cocoi(self, *words: object, **options: Any) -> Done:
        """Run `cocoi` to its end; options as for `start`."""
        return self.start(*words, **options).finish()

    def document(self, *words: object, **options: Any) -> Any:
        """The JSON document of a command that must succeed."""
        return self.cocoi(*words, "--json", **options).ok().document

    def start(
        self, *words: object, env: dict[str, str] | None = None, patch: Path | None = None, text: str | None = None
    ) -> Running:
        """Start `cocoi` and let it run.

        Args:
            words: After the command's name.
            env: Further environment variables.
            patch: Python file that runs in the same process before the command, to play a faulty release.
            text: Its standard input; nothing by default.
        """
        call = self.command(words, patch)
        process = subprocess.Popen(
            call,
            stdin=subprocess.PIPE if text is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.home,
            env=self.environment(env),
            start_new_session=True,
            preexec_fn=_interruptible,  # noqa: PLW1509 - this process has one thread
        )
        if text is not None:
            assert process.stdin is not None
            process.stdin.write(text)
            process.stdin.close()
        # For whoever wonders, after a failure, what was before it.
        running = Running(process, tuple(map(str, words)), self.home.parent / "commands.log")
        self._started.append(running)
        return running

    def terminal(self, *words: object, answers: Sequence[tuple[str, str]]) -> tuple[int, str]:
        """Run `cocoi` on a terminal and answer its questions.

        Args:
            words: After the command's name.
            answers: What each question contains, in their order, and what is typed then.

        Returns:
            Exit status and everything that was on the terminal.
        """
        child, terminal = pty.fork()
        if child == 0:
            try:
                os.chdir(self.home)
                call = self.command(words, None)
                os.execvpe(call[0], call, self.environment({"TERM": "dumb"}))  # noqa: S606 - as a terminal would
            finally:
                os._exit(127)
        try:
            screen = _converse(terminal, answers)
        finally:
            os.close(terminal)
            os.kill(child, signal.SIGHUP)
            _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), screen

    def command(self, words: Sequence[object], patch: Path | None) -> list[str]:
        """The command line that runs `cocoi` in this host's place on the network."""
        door = ["-c", f"exec(open({str(patch)!r}).read())\nfrom cocoi_cli.__main__ import main\nmain()"]
        program = [sys.executable, *door] if patch else [str(Path(sys.executable).parent / "cocoi")]
        return [*self._prefix, *program, *map(str, words)]

    def environment(self, more: dict[str, str] | None) -> dict[str, str]:
        """A plain environment: nothing of the developer's own configuration reaches the command."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
        own = {"HOME": str(self.home), "COCOI_CACHE": str(self._cache), "TMPDIR": str(self._temporary())}
        return {**inherited, **own, **self.env, **(more or {})}

    def forget(self, place: str) -> None:
        """Remove a device's keys from `known_hosts`, as `ssh-keygen -R` does."""
        known = self.home / ".ssh" / "known_hosts"
        if known.exists() and (tool := shutil.which("ssh-keygen")):
            subprocess.run([tool, "-q", "-R", place, "-f", str(known)], check=True, capture_output=True)

    def close(self) -> None:
        """Kill what still runs."""
        for running in self._started:
            if running.process.poll() is None:
                running.kill()
            for pipe in (running.process.stdin, running.process.stdout, running.process.stderr):
                if pipe is not None:
                    pipe.close()

    def _temporary(self) -> Path:
        folder = self.home / "tmp"
        folder.mkdir(exist_ok=True)
        return folder


def _converse(terminal: int, answers: Sequence[tuple[str, str]]) -> str:
    """Read a terminal to its end; type each answer once its question has been asked after the one before."""
    screen, asked, waiting = "", 0, list(answers)
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        if waiting and waiting[0][0] in screen[asked:]:
            asked = len(screen)
            os.write(terminal, f"{waiting.pop(0)[1]}\n".encode())
        ready, _, _ = select.select([terminal], [], [], 1.0)
        if not ready:
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:
            # The other end is closed: on Linux that is an error, not an end.
            break
        if not data:
            break
        screen += data.decode(errors="replace")
    return screen
