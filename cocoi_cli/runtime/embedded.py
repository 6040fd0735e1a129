"""The embedded fleet: real agents as local processes, with throw-away certificates.

Each agent holds the read end of a pipe whose only writer is this process, and ends as
soon as that pipe closes: so it cannot outlive its host, not even one that was killed.
Agents run in a session of their own, so Ctrl-C reaches the host alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import cocoi_agent
from cocoi_cli.errors import FleetError, UsageError
from cocoi_cli.runtime.addresses import AgentAddress
from cocoi_cli.runtime.trust import Identity, make_identity

if TYPE_CHECKING:
    from collections.abc import Sequence

START_TIMEOUT_S = 60.0  # importing ONNX Runtime a dozen times on a loaded two-core machine
STOP_TIMEOUT_S = 5.0
MOST_AGENTS = 64  # each is a process of some 80 MB


class AgentStartError(FleetError):
    """An embedded agent ended or stayed silent before it was ready."""

    code: ClassVar[str] = "agent-start-failed"

    def __init__(self, agent: str, cause: str, output: str) -> None:
        tail = f": {output.strip().splitlines()[-1]}" if output.strip() else ""
        super().__init__(
            f"agent `{agent}` did not start: {cause}{tail}", agent=agent, cause=cause, output=output[-2000:]
        )


class FleetSizeError(UsageError):
    """An impossible number of embedded agents was asked for."""

    code: ClassVar[str] = "bad-fleet-size"

    def __init__(self, agents: int) -> None:
        super().__init__(
            f"an embedded fleet has 1 to {MOST_AGENTS} agents, not {agents}", agents=agents, most=MOST_AGENTS
        )


@dataclass(slots=True)
class _Process:
    """One agent process; `killed` once the fleet itself has killed it on purpose."""

    process: asyncio.subprocess.Process
    address: AgentAddress
    log: Path
    killed: bool = False


class EmbeddedFleet:
    """Agents as child processes; use as an async context manager."""

    def __init__(self, agents: int) -> None:
        """Plan a fleet of `agents` processes; nothing is started yet.

        Raises:
            FleetSizeError: If `agents` is below 1 or above `MOST_AGENTS`.
        """
        if not 1 <= agents <= MOST_AGENTS:
            raise FleetSizeError(agents)
        self._ids = [f"agent-{index + 1}" for index in range(agents)]
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._running: dict[str, _Process] = {}
        self.host_identity: Identity | None = None

    async def __aenter__(self) -> EmbeddedFleet:
        """Start every agent and wait until each says where it listens.

        Raises:
            AgentStartError: If one ends or stays silent; the others are stopped first.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="cocoi-")
        try:
            folder = Path(self._folder.name)
            self.host_identity = make_identity(folder, "host")
            async with asyncio.TaskGroup() as group:
                for agent in self._ids:
                    group.create_task(self._start(agent, folder))
        except BaseException as failure:
            await self._stop()
            raise _first_cause(failure) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop every agent and remove the folder."""
        await self._stop()

    @property
    def addresses(self) -> tuple[AgentAddress, ...]:
        """Of all agents, in order."""
        return tuple(self._running[agent].address for agent in self._ids if agent in self._running)

    def kill(self, agents: Sequence[str]) -> None:
        """Send SIGKILL to agents at once; unknown or dead ones are passed over."""
        for agent in agents:
            running = self._running.get(agent)
            if running is not None:
                running.killed = True
                with contextlib.suppress(ProcessLookupError):
                    running.process.kill()

    def was_killed(self, agent: str) -> bool:
        """Whether `kill` was used on this agent."""
        running = self._running.get(agent)
        return running is not None and running.killed

    def process_id(self, agent: str) -> int:
        """For tests and tools that pause or kill an agent themselves."""
        return self._running[agent].process.pid

    async def _start(self, agent: str, folder: Path) -> None:
        identity = make_identity(folder, agent)
        log = folder / f"{agent}.log"
        assert self.host_identity is not None  # noqa: S101 - set before any agent is started
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cocoi_agent", "--embedded"),
                *("--id", agent, "--host", "127.0.0.1", "--port", "0", "--store", str(folder / f"{agent}.store")),
                *("--cert", str(identity.certificate), "--key", str(identity.key)),
                *("--peer", str(self.host_identity.certificate)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                env=_environment(),
            )
        address = AgentAddress(agent, "127.0.0.1", 0, identity.certificate)
        self._running[agent] = _Process(process, address, log)
        port = await self._read_port(agent, process, log)
        self._running[agent].address = AgentAddress(agent, "127.0.0.1", port, identity.certificate)

    async def _read_port(self, agent: str, process: asyncio.subprocess.Process, log: Path) -> int:
        assert process.stdout is not None  # noqa: S101 - asked for as a pipe
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await process.stdout.readline()
        except TimeoutError:
            raise AgentStartError(agent, f"silent for {START_TIMEOUT_S:.0f} s", _read(log)) from None
        try:
            return int(json.loads(line)["port"])
        except (ValueError, KeyError, TypeError):
            status = await _ended(process)
            raise AgentStartError(agent, f"ended with status {status}", _read(log)) from None

    async def _stop(self) -> None:
        """Close the pipes, then make sure; idempotent."""
        running, self._running = self._running, {}
        for item in running.values():
            if item.process.stdin is not None:
                item.process.stdin.close()
        await asyncio.gather(*(_end(item.process) for item in running.values()))
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _first_cause(failure: BaseException) -> BaseException:
    """Of several agents that did not start, the first; anything else as it is."""
    if isinstance(failure, BaseExceptionGroup):
        return _first_cause(failure.exceptions[0])
    return failure


def _environment() -> dict[str, str]:
    """The host's environment, with the agent's package found where the host found it."""
    home = str(Path(cocoi_agent.__file__).parent.parent)
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": home if not path else f"{home}{os.pathsep}{path}"}


async def _end(process: asyncio.subprocess.Process) -> None:
    """Wait until a process whose pipe was closed has ended; one that is frozen is killed."""
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _ended(process: asyncio.subprocess.Process) -> int | None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_TIMEOUT_S):
            return await process.wait()
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    return await process.wait()


def _read(log: Path) -> str:
    try:
        return log.read_text(errors="replace")
    except OSError:
        return ""
