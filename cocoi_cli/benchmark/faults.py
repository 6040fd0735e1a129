"""Injecting faults: by a script of the user's, or by signals to agents on this machine.

The script is any executable, called `FAULTS WORD [DEVICE [ARGUMENT…]]`. It ends with status 0, or says on
standard error why it could not. `FAULTS names` prints the names of the devices, `FAULTS clear` undoes everything.
docs/benchmark.md lists the words.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

from cocoi_cli.benchmark.errors import FaultsFailedError, NoFaultsError
from cocoi_cli.model.inputs import reason
from cocoi_cli.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cocoi_cli.benchmark.scenarios import Fault, Scenario, TimedFault

LIMIT_S: Final = 30.0  # a device that starts its agent anew takes seconds
CLEAR_LIMIT_S: Final = 120.0  # undoing touches every device


class Faults(Protocol):
    """Who can harm devices, and undo it."""

    def names(self) -> tuple[str, ...]:
        """The devices that can be harmed."""
        ...

    def check(self, scenario: Scenario) -> None:
        """Refuse a scenario that this cannot bring about.

        Raises:
            NoFaultsError: If it needs a word that is not known here.
        """
        ...

    def apply(self, fault: Fault) -> None:
        """Bring about one fault, or undo one.

        Raises:
            FaultsFailedError: If it does not succeed.
        """
        ...

    def clear(self) -> None:
        """Undo everything that can be undone.

        Raises:
            FaultsFailedError: If it does not succeed.
        """
        ...


class ScriptFaults:
    """The faults script."""

    def __init__(self, script: str, *, limit_s: float = LIMIT_S, clear_limit_s: float = CLEAR_LIMIT_S) -> None:
        """Name the executable; it is not called yet.

        Args:
            script: Path of the executable.
            limit_s: Seconds that one call may take.
            clear_limit_s: Seconds that undoing everything may take.
        """
        self._script = str(Path(script).expanduser().absolute())  # it is never looked for in PATH
        self._shown = script
        self._limit_s, self._clear_limit_s = limit_s, clear_limit_s

    def names(self) -> tuple[str, ...]:
        """As the script prints them, one a line.

        Raises:
            FaultsFailedError: If the script fails, or prints no name.
        """
        found = tuple(line.strip() for line in self._call(("names",), self._limit_s).splitlines() if line.strip())
        if not found:
            raise FaultsFailedError(self._shown, ("names",), "it printed no device")
        return found

    def check(self, scenario: Scenario) -> None:
        """A script is taken to know all words; what it does not, it says when asked."""

    def apply(self, fault: Fault) -> None:
        """Call the script."""
        self._call(fault.call, self._limit_s)

    def place_kernels(self, process: int) -> None:
        """Have the process that computes for the coordinator given a device's share of this machine.

        Raises:
            FaultsFailedError: If the script cannot.
        """
        self._call(("host-kernels", str(process)), self._limit_s)

    def clear(self) -> None:
        """Call the script; Ctrl-C does not reach it."""
        self._call(("clear",), self._clear_limit_s)

    def _call(self, call: Sequence[str], limit_s: float) -> str:
        try:
            # A session of its own: Ctrl-C must not cut a call in half, nor the one that undoes everything.
            process = subprocess.Popen(  # noqa: S603 - the user names the script, and it runs without a shell
                [self._script, *call],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise FaultsFailedError(self._shown, call, reason(error)) from error
        try:
            out, errors = process.communicate(timeout=limit_s)
        except BaseException as error:
            _end(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise FaultsFailedError(self._shown, call, f"no end after {limit_s:g} s") from error
            raise
        if process.returncode:
            said = [one_line(line.strip()) for line in errors.splitlines() if line.strip()]
            cause = said[-1].removeprefix("error: ") if said else f"it ended with status {process.returncode}"
            raise FaultsFailedError(self._shown, call, cause)
        return out


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a call and everything that it has started."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with process:  # closes its pipes
        process.kill()


class SignalFaults:
    """Agents of an embedded fleet: frozen, thawed and killed by signals.

    A killed agent comes back only with a new fleet.
    """

    WORDS: Final = frozenset({"freeze", "kill"})

    def __init__(self, process_ids: Callable[[], Mapping[str, int]]) -> None:
        """Begin without faults.

        Args:
            process_ids: Agent to process, asked anew at each use.
        """
        self._process_ids = process_ids

    def names(self) -> tuple[str, ...]:
        """The agents."""
        return tuple(self._process_ids())

    def check(self, scenario: Scenario) -> None:
        """Only freezing and killing need no network or processor of the agent's own."""
        missing = scenario.words - self.WORDS
        if missing:
            able = "agents on this machine can only be frozen or killed"
            raise NoFaultsError(scenario.name, missing, able)

    def apply(self, fault: Fault) -> None:
        """Send the signal; to undo a kill is left to a new fleet."""
        signals = {"freeze": signal.SIGSTOP, "thaw": signal.SIGCONT, "kill": signal.SIGKILL}
        if fault.word == "revive":
            return
        process = self._process_ids().get(fault.device)
        if fault.word not in signals or process is None:
            cause = "no such agent" if fault.word in signals else "agents on this machine can only be frozen or killed"
            raise FaultsFailedError("embedded", fault.call, cause)
        with suppress(ProcessLookupError):
            os.kill(process, signals[fault.word])

    def clear(self) -> None:
        """Thaw every agent."""
        for process in self._process_ids().values():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


class NoFaults:
    """A fleet without a faults script: nothing can be done to its devices."""

    def __init__(self, devices: Sequence[str]) -> None:
        """Name the devices."""
        self._devices = tuple(devices)

    def names(self) -> tuple[str, ...]:
        """The devices of the fleet."""
        return self._devices

    def check(self, scenario: Scenario) -> None:
        """Only what needs no fault."""
        if scenario.words:
            raise NoFaultsError(scenario.name, scenario.words, "no faults script was named")

    def apply(self, fault: Fault) -> None:
        """Nothing can be applied; `check` has refused it."""
        raise FaultsFailedError("none", fault.call, "no faults script was named")

    def clear(self) -> None:
        """There is nothing to undo."""


class PassingFaults:
    """Faults in the middle of one inference: a context manager around it.

    Each fault has a timer; those that have not fired when the inference ends do not fire. Leaving waits for calls
    that have begun.

    Attributes:
        fired: What was done, in order; to be undone by the caller.
    """

    def __init__(self, faults: Faults, timed: Sequence[TimedFault], usual_s: float) -> None:
        """Plan the faults.

        Args:
            faults: Who does it.
            timed: What, and when as a part of `usual_s`.
            usual_s: What the inference usually takes, in seconds.
        """
        self.fired: list[Fault] = []
        self._faults = faults
        self._failure: FaultsFailedError | None = None
        self._timers = [threading.Timer(each.at * usual_s, self._fire, (each.fault,)) for each in timed]

    def __enter__(self) -> Self:
        """Start the timers."""
        for timer in self._timers:
            timer.daemon = True
            timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop what has not begun.

        Raises:
            FaultsFailedError: If a call failed, and the inference did not.
        """
        for timer in self._timers:
            timer.cancel()
        for timer in self._timers:
            timer.join()
        if self._failure is not None and kind is None:
            raise self._failure

    def _fire(self, fault: Fault) -> None:
        try:
            self.fired.append(fault)
            self._faults.apply(fault)
        except FaultsFailedError as error:
            self._failure = error
