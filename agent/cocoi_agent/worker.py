"""What the agent does with messages. Everything here runs in the loop; state has one owner.

    host ─► greeting ─► Library: have, put, load          (store thread)
                   └──► Runs ─► Scheduler ─► Computer ─► answers   (ONNX Runtime in the compute thread)

No host can make the agent take more memory or queue more parts than its limits; a
host that breaks the protocol or does not read is cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cocoi_agent import __version__
from cocoi_agent.budget import Budget
from cocoi_agent.clients import Client, Verdict
from cocoi_agent.compute import Computer
from cocoi_agent.engine import OutOfMemoryError
from cocoi_agent.journal import Kind
from cocoi_agent.library import Library
from cocoi_agent.runs import Runs, bytes_of_run
from cocoi_agent.vitals import machine_facts, read_device
from cocoi_agent.wire.errors import ProtocolError
from cocoi_agent.wire.limits import MEBIBYTE, PROTOCOL_VERSIONS, Limits
from cocoi_agent.wire.messages import (
    AskVitals,
    Bye,
    Cancel,
    Credit,
    Fault,
    Have,
    Hello,
    Load,
    Message,
    Ping,
    Pong,
    Put,
    Rows,
    Run,
    Skip,
    UnknownMessage,
    Vitals,
    Welcome,
)
from cocoi_agent.wire.tensors import AnyArray, total_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cocoi_agent.connection import Connection
    from cocoi_agent.engine import Engine
    from cocoi_agent.store import Store

FEATURES: Final = ("rows", "linear", "initializer", "float16-scale")
GREET_S: Final = 10.0  # a peer that says no hello by then is cut off
STALL_S: Final = 30.0  # a host that takes nothing for so long while answers wait is cut off

Tensors = tuple[AnyArray, ...]
Note = Callable[[Kind, str], None]

DEFAULT_PROGRAM_LIMIT: Final = 1024 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Settings:
    """The limits of one agent.

    Attributes:
        name: What the agent calls itself.
        memory_limit: Bytes of arriving tensors held for all hosts together.
        queue_limit: Parts that may wait or run for all hosts together.
        max_connections: Hosts at once.
        max_tail: Bytes of tensors in one message.
        program_limit: Bytes that programs with weights built in may take.
    """

    name: str = "agent"
    memory_limit: int = 256 * MEBIBYTE
    queue_limit: int = 1024
    max_connections: int = 32
    max_tail: int = 256 * MEBIBYTE
    program_limit: int = DEFAULT_PROGRAM_LIMIT


class Worker:
    """The agent without its sockets: give its methods to `transport.serve` or `memory_pair`.

    Must be made inside a running loop.

    Args:
        settings: Limits.
        engine: Runs programs.
        store: Keeps blobs.
        clock: Monotonic seconds.
        note: Told of hosts that come, and of those that are refused or lost.
    """

    def __init__(
        self, settings: Settings, engine: Engine, store: Store, clock: Callable[[], float], note: Note | None = None
    ) -> None:
        self._settings = settings
        self._note: Note = note or (lambda _kind, _text: None)
        self._clock = clock
        self._started_s = clock()
        self._machine = machine_facts()
        self._clients: dict[Connection, Client] = {}
        self.budget = Budget(settings.memory_limit)
        self.library = Library(engine, store, self.budget, settings.program_limit)
        self.runs = Runs(Computer(engine, clock), self.library, self.budget, settings.queue_limit, clock)
        self._handlers: Mapping[type, Callable[[Client, Any, Tensors], None]] = {
            Have: lambda client, message, _: self.library.have(client, message),
            Load: lambda client, message, _: self.library.load(client, message),
            Put: self._on_put,
            Run: self._on_run,
            Rows: self._on_rows,
            Skip: lambda client, message, _: self.runs.skip(client, message),
            Cancel: lambda client, message, _: self.runs.cancel(client, message),
            Credit: lambda client, message, _: client.returned(message.bytes),
            Ping: lambda client, message, _: client.tell(Pong(message.token, self._clock())),
            AskVitals: lambda client, _message, _: client.tell(self.vitals()),
            Bye: lambda client, _message, _: client.connection.close(),
            UnknownMessage: self._on_unknown,
            Pong: _ignore,
            Fault: _ignore,
        }

    def __repr__(self) -> str:
        return f"<Worker clients={len(self._clients)} reserved={self.budget.reserved} {self.runs!r} {self.library!r}>"

    @property
    def limits(self) -> Limits:
        """What each connection's parser accepts."""
        return Limits(max_tail=self._settings.max_tail)

    # What the transport calls.

    def on_connect(self, connection: Connection) -> None:
        """A host connected; one too many is told so and cut."""
        if len(self._clients) >= self._settings.max_connections:
            limit = self._settings.max_connections
            self._note(Kind.REFUSED, f"{connection.peer} is refused: as many hosts as may be are connected ({limit})")
            connection.send_nowait_control(Fault("too-many-connections", f"the agent serves {limit} hosts at once"))
            connection.close()
            return
        self._clients[connection] = Client(connection, self._clock(), self.runs.scheduler.resume, self._cut_off)

    def admit(self, connection: Connection, message: Message, size: int) -> bool:
        """Whether to take memory for the tensors of a message; the reason is kept for its arrival."""
        client = self._clients.get(connection)
        if client is None or not client.greeted:
            return False
        client.arriving = 0
        client.verdict = self._judge(client, message, size)
        return client.verdict is None

    def on_message(self, connection: Connection, message: Message, tensors: Tensors) -> None:
        """Act on one message."""
        client = self._clients.get(connection)
        if client is None:
            return
        if isinstance(message, Hello):
            self._on_hello(client, message)
            return
        handler = self._handlers.get(type(message))
        if not client.greeted:
            client.refuse(Fault("hello-first", f"`{message.word}` came before `hello`"))
        elif handler is None:
            client.refuse(Fault("unexpected", f"`{message.word}` is not for agents"))
        else:
            handler(client, message, tensors)

    def on_lost(self, connection: Connection, error: Exception | None) -> None:
        """A host is gone: its runs are dropped, the part that runs ends at the next check."""
        client = self._clients.pop(connection, None)
        if client is not None:
            self._note_end(client, error)
            self.budget.release(client.arriving)
            client.arriving = 0
            self.runs.forget(client)

    # What the process calls.

    def tick(self) -> None:
        """Cut off peers that say nothing and hosts that read nothing; call every few seconds."""
        now = self._clock()
        for client in list(self._clients.values()):
            if not client.greeted and now - client.connected_s > GREET_S:
                client.refuse(Fault("hello-first", f"no `hello` within {GREET_S:g} s"))
            elif client.stalled_for(now) > STALL_S:
                self._note(Kind.FAULT, f"{client.label} is cut off: it took nothing for {STALL_S:g} s")
                client.connection.abort()

    def check(self, answer: Callable[[], None]) -> None:
        """Call `answer` once the compute thread has come to it: the self-check behind the watchdog."""
        self.runs.scheduler.check(answer)

    def on_stop(self) -> None:
        """The agent is about to end: hosts are told, their runs are dropped."""
        for client in list(self._clients.values()):
            client.tell(Bye("the agent is stopping"))
            self.runs.forget(client)

    def close(self) -> None:
        """Let the threads end after what they are doing; nothing is answered from here on."""
        self.runs.scheduler.close()
        self.library.close()

    def vitals(self) -> Vitals:
        """How the device and the agent are."""
        device = read_device()
        return Vitals(
            temperature_c=device.temperature_c,
            throttled=device.throttled,
            undervolted=device.undervolted,
            load=device.load,
            memory_rss=device.memory_rss,
            memory_available=device.memory_available,
            cpu_s=device.cpu_s,
            queued=self.runs.backlog,
            served=self.runs.served,
            store_bytes=self.library.used_bytes,
            uptime_s=self._clock() - self._started_s,
        )

    def _cut_off(self, client: Client, fault: Fault) -> None:
        self._note(Kind.FAULT, f"{client.label} is cut off: {fault.message} ({fault.code})")

    def _note_end(self, client: Client, error: Exception | None) -> None:
        if isinstance(error, ProtocolError):
            self._note(Kind.FAULT, f"{client.label} is cut off: {error} ({error.code})")
        elif error is not None and client.greeted:
            self._note(Kind.LOST, f"{client.label} is lost: {error}")

    # Messages.

    def _on_hello(self, client: Client, hello: Hello) -> None:
        version = common_version(hello.versions)
        if version is None:
            lowest, highest = PROTOCOL_VERSIONS
            text = (
                f"the agent talks versions {lowest} to {highest}, the host {hello.versions[0]} to {hello.versions[1]}"
            )
            client.refuse(Fault("version", text, f"{lowest}-{highest}"))
        elif client.greeted:
            client.refuse(Fault("unexpected", "`hello` came twice"))
        else:
            client.greet(hello)
            self._note(Kind.CONNECTED, f"{client.label} is connected ({hello.software})")
            client.tell(self._welcome(version))

    def _welcome(self, version: int) -> Welcome:
        settings = self._settings
        return Welcome(
            version=version,
            agent=settings.name,
            software=f"cocoi-agent {__version__}",
            features=FEATURES,
            machine=self._machine,
            max_tail=settings.max_tail,
            memory_limit=settings.memory_limit,
            queue_limit=settings.queue_limit,
            credit=settings.memory_limit,
        )

    def _judge(self, client: Client, message: Message, size: int) -> Verdict | None:
        """Why the tensors of a message are not taken; where they are, `client.arriving` is reserved."""
        match message:
            case Run():
                verdict = self.runs.judge(client, message)
                client.arriving = bytes_of_run(message) if verdict is None else 0
            case Rows():
                verdict = self.runs.judge_rows(client, message)
            case Put():
                too_large = self.budget.reserve(size)
                verdict = None if too_large is None else ("memory", too_large)
                client.arriving = size if verdict is None else 0
            case _:
                verdict = "unexpected", f"`{message.word}` is not for agents"
        return verdict

    def _on_put(self, client: Client, put: Put, tensors: Tensors) -> None:
        reserved, client.arriving = client.arriving, 0
        verdict = client.verdict or _unmade(put, tensors)
        if verdict is not None:
            self.budget.release(reserved)
            client.tell(Fault(*verdict, put.hash))
            return
        self.library.put(client, put, tensors[0], reserved)

    def _on_run(self, client: Client, run: Run, tensors: Tensors) -> None:
        # With described tensors the verdict was made when their header came.
        if run.tensors:
            verdict, client.arriving = client.verdict, 0
        else:
            verdict = self.runs.judge(client, run)
        if verdict is not None:
            self.runs.refuse(client, run, verdict)
        elif unmade := _unmade(run, tensors):
            self.runs.fail(client, run, unmade)
        else:
            self.runs.start(client, run, tensors)

    def _on_rows(self, client: Client, rows: Rows, tensors: Tensors) -> None:
        verdict = client.verdict if rows.tensors else None
        verdict = verdict or self.runs.judge_rows(client, rows) or _unmade(rows, tensors)
        self.runs.add_rows(client, rows, tensors, verdict)

    def _on_unknown(self, client: Client, message: UnknownMessage, tensors: Tensors) -> None:
        del tensors
        if message.must:
            client.refuse(Fault("unknown-message", f"`{message.type}` is needed and not known", message.type))


def common_version(theirs: tuple[int, int]) -> int | None:
    """The highest protocol version that both talk, or None."""
    lowest, highest = PROTOCOL_VERSIONS
    version = min(highest, theirs[1])
    return version if version >= max(lowest, theirs[0]) else None


def _unmade(message: Put | Run | Rows, tensors: Tensors) -> Verdict | None:
    """Why tensors that were welcome are not there: the system had no memory for them."""
    if len(tensors) == len(message.tensors):
        return None
    return OutOfMemoryError.code, f"the system has no {total_bytes(message.tensors)} bytes of memory for its tensors"


def _ignore(client: Client, message: Message, tensors: Tensors) -> None:
    """Nothing follows from this message."""
