"""One connection to one agent, seen from the host.

A link says hello, keeps the agent's programs up to date, sends shares and passes the
answers on. It counts as connected only once its Hello was answered: a TLS 1.3 client
that the agent refuses sees its own handshake succeed.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

import cocoi_agent
from cocoi_agent.transport import ConnectError, Connection, OnLost, OnMessage, connect
from cocoi_agent.wire.limits import DEFAULT_MAX_TAIL, PROTOCOL_VERSIONS, Limits
from cocoi_agent.wire.messages import (
    ANSWER_CREDIT,
    Answer,
    AskVitals,
    Binding,
    Bye,
    Cancel,
    Credit,
    Fault,
    Have,
    Hello,
    Load,
    Loaded,
    Message,
    Missing,
    Part,
    Ping,
    Pong,
    Put,
    Run,
    Stored,
    Vitals,
    Welcome,
)
from cocoi_agent.wire.tensors import describe
from cocoi_cli.runtime.inference import Clock
from cocoi_cli.runtime.link_errors import HUNG_UP, AgentFaultError, LinkError, VersionError, spoken, unconnected
from cocoi_cli.runtime.requests import ReplyT, Requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.runtime.inference import LinkOwner
    from cocoi_cli.runtime.report import AnyArray

CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 60.0  # storing tens of megabytes on an SD card takes its time
ANSWER_CREDIT_BYTES = 64 << 20  # answers on their way to the host, per agent; the largest real strip is 3 MB
HEARTBEAT_S = 2.0
MISSED_BEATS = 4  # the agent answers pings while it computes, so silence this long means it is gone or frozen
CLOCK_PROBES = 3
SWITCH_BUFFER = 1 << 20  # bytes that a small switch queues for one port before it drops
LINE_BYTES_PER_S = 117.5e6  # of gigabit Ethernet
UNKNOWN_PROGRAM = "unknown-program"  # code of a refusal, docs/protocol.md


class Connector(Protocol):
    """Makes the connection of a link."""

    async def __call__(self, on_message: OnMessage, on_lost: OnLost, /) -> Connection:
        """Connect, or raise `ConnectError`."""
        ...


def tcp(
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    *,
    receive_buffer: int | None = None,
    timeout_s: float | None = None,
) -> Connector:
    """Connect over TCP.

    Args:
        host: Address of the agent.
        port: Its port.
        context: TLS with pinned certificates; None only where the fleet says `security = "none"`.
        receive_buffer: Bytes of the socket's receive buffer, against incast; None leaves it to the kernel.
        timeout_s: For connection and handshake; None for `CONNECT_TIMEOUT_S`.
    """

    async def connector(on_message: OnMessage, on_lost: OnLost, /) -> Connection:
        return await connect(
            host,
            port,
            ssl_context=context,
            on_message=on_message,
            on_lost=on_lost,
            limits=Limits(),
            receive_buffer=receive_buffer,
            timeout_s=CONNECT_TIMEOUT_S if timeout_s is None else timeout_s,
        )

    return connector


@dataclass(frozen=True, slots=True)
class Program:
    """What an agent must hold before it can compute shares of a stage.

    Attributes:
        id: `program_id` of the rest.
        graph: SHA-256 of the ONNX bytes.
        bindings: Tensors that belong to it, by hash.
        linear: Whether its result is linear in the share.
    """

    id: str
    graph: str
    bindings: tuple[Binding, ...]
    linear: bool = True


class AgentLink:
    """The host's end of the connection to one agent."""

    def __init__(self, agent: str, owner: LinkOwner) -> None:
        """Name the agent as the fleet does; `open` connects."""
        self.id = agent
        self.clock = Clock(0.0, float("inf"))
        self.bytes_out = 0
        self.bytes_in = 0
        self._owner = owner
        self._where = ""
        self._connection: Connection | None = None
        self._welcome: Welcome | None = None
        self._requests = Requests()
        self._loaded: set[str] = set()
        self._runs: dict[tuple[int, int], int] = {}
        self._next = 1
        self._credit = 0
        self._held_back: deque[tuple[Run, tuple[AnyArray, ...]]] = deque()
        self._owed = 0
        self._heard_at = 0.0
        self._beat: asyncio.Task[None] | None = None
        self._is_open = False
        self._last_words = ""  # of the agent, before it closed the connection; then why there is none

    def __repr__(self) -> str:
        """Name, address and what it still waits for."""
        return f"<AgentLink {self.id} at {self._where}, open={self._is_open}, runs={len(self._runs)}>"

    @property
    def is_open(self) -> bool:
        """Whether shares can be sent."""
        return self._is_open

    @property
    def welcome(self) -> Welcome:
        """What the agent said of itself; only after `open`."""
        assert self._welcome is not None  # noqa: S101 - set by open
        return self._welcome

    async def open(self, where: str, connector: Connector) -> None:
        """Connect, say hello, and compare clocks.

        Args:
            where: What messages call the address.
            connector: Makes the connection; `tcp` makes one for real agents.

        Raises:
            LinkError: Unreachable, refused, silent, or not an agent.
            VersionError: It talks another protocol version.
        """
        self._where = where
        try:
            self._connection = await connector(self._received, self._lost)
        except ConnectError as error:
            kind = "refused" if isinstance(error.__cause__, ssl.SSLCertVerificationError) else "down"
            raise LinkError(self.id, self._where, unconnected(error), kind=kind) from error
        self._is_open = True
        software = f"cocoi {cocoi_agent.__version__}"
        hello = Hello(PROTOCOL_VERSIONS, software, (ANSWER_CREDIT,), "host", DEFAULT_MAX_TAIL, ANSWER_CREDIT_BYTES)
        try:
            welcome = await self._ask(Welcome, "", hello)
            self._check_version(welcome)
            self._welcome = welcome
            self._credit = welcome.credit
            for _ in range(CLOCK_PROBES):
                await self.round_trip()
        except BaseException:
            await self.aclose()
            raise
        self._beat = asyncio.get_running_loop().create_task(self._heartbeat(), name=f"heartbeat of {self.id}")

    async def prepare(self, programs: Sequence[Program], blobs: Mapping[str, bytes | memoryview]) -> int:
        """Make the agent hold these programs; send only the blobs that it lacks.

        Args:
            programs: What the next inference needs.
            blobs: Every blob that the programs name, by SHA-256.

        Returns:
            Bytes that had to be sent.

        Raises:
            AgentFaultError: The agent refused a blob or a program.
            LinkError: It broke off or stayed silent.
        """
        # The agent may have forgotten what the last inference did not use; asking again costs a round trip.
        self._loaded &= {program.id for program in programs}
        wanted = [program for program in programs if program.id not in self._loaded]
        if not wanted:
            return 0
        hashes = sorted({program.graph for program in wanted} | {b.blob for p in wanted for b in p.bindings})
        sent = 0
        for at in range(0, len(hashes), 512):  # a header lists no more than 1,024
            missing = await self._ask(Missing, "", Have(tuple(hashes[at : at + 512])))
            for blob in missing.hashes:
                await self._put(blob, np.frombuffer(blobs[blob], np.uint8))
                sent += len(blobs[blob])
        for program in wanted:
            load = Load(program.id, program.graph, program.bindings, linear=program.linear)
            await self._ask(Loaded, program.id, load)
            self._loaded.add(program.id)
        return sent

    def share_port(self, agents: int) -> None:
        """Bound what is under way to this host, so that agents that answer at once do not overrun the switch.

        Each may send its part of what a switch holds for one port, but never less than its line carries in a round
        trip. Source: docs/methods.md, incast.

        Args:
            agents: How many share the host's port.
        """
        trip_s = 2 * self.clock.uncertainty_s
        if self._connection is not None and agents > 1 and trip_s < math.inf:
            self._connection.bound_receiving(max(SWITCH_BUFFER // agents, int(LINE_BYTES_PER_S * trip_s)))

    async def vitals(self) -> Vitals:
        """Ask how the device and the agent are.

        Raises:
            LinkError: It broke off or stayed silent.
        """
        return await self._ask(Vitals, "", AskVitals())

    def send_share(
        self,
        *,
        stream: int,
        codeword: int,
        share: int,
        program: str,
        x: AnyArray,
        scale: float,
        axis: int,
        reply: str,
        deadline_s: float | None,
    ) -> None:
        """Send one share to be computed; the answer comes to the owner.

        Args:
            stream: The request, for cancelling.
            codeword: Repeated in the answer.
            share: Repeated in the answer as its part.
            program: Id of a prepared program.
            x: The share, C-contiguous; must not change until the answer has come or the link is lost.
            scale: Power of two; the share's value is `x * scale`.
            axis: The cut axis.
            reply: `f16` or `f32`.
            deadline_s: The agent drops it unless begun so soon.
        """
        run = self._next
        self._next += 1
        self._runs[codeword, share] = run
        part = Part(share, 0, x.shape[axis])
        message = Run(
            run=run,
            stream=stream,
            codeword=codeword,
            program=program,
            tensors=(describe("x", x, scale),),
            axis=axis,
            parts=(part,),
            deadline_s=deadline_s,
            reply_dtype=reply,
        )
        self._held_back.append((message, (x,)))
        self._release()

    def send_model(self, codeword: int, program: str, tensors: Mapping[str, AnyArray]) -> int:
        """Have a whole model run once; the answer comes to the owner as part 0, its outputs as they are.

        Args:
            codeword: Repeated in the answer.
            program: Id of a prepared program.
            tensors: Its inputs by name; must not change until the answer has come or the link is lost.

        Returns:
            The number of the run, repeated in the answer.
        """
        run = self._next
        self._next += 1
        self._runs[codeword, 0] = run
        arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        described = tuple(describe(name, array) for name, array in arrays.items())
        self._held_back.append((Run(run, 0, codeword, program, described), tuple(arrays.values())))
        self._release()
        return run

    def cancel(self, codeword: int, share: int) -> None:
        """Ask the agent to drop a share: at once, or, being computed, between two nodes. An answer still comes."""
        run = self._runs.get((codeword, share))
        if run is not None and self._connection is not None:
            self._connection.send_nowait_control(Cancel(run))

    async def aclose(self) -> None:
        """Say good-bye and close; idempotent, and the owner hears nothing of it."""
        self._is_open = False
        beat, self._beat = self._beat, None
        if beat is not None and beat is not asyncio.current_task():
            beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beat
        connection, self._connection = self._connection, None
        if connection is not None:
            if not connection.is_closed:
                connection.send_nowait_control(Bye("done"))
            await connection.aclose()
        self._requests.failed(LinkError(self.id, self._where, "closed"))

    # --- requests ---------------------------------------------------------------

    async def _ask(
        self, answer: type[ReplyT], about: str, message: Message, tensors: tuple[AnyArray, ...] = ()
    ) -> ReplyT:
        """Send a request and wait for its answer, or for a fault about it."""
        connection = self._connection
        if connection is None or not self._is_open:
            raise LinkError(self.id, self._where, self._last_words or "the connection is closed")
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                with self._requests.waiting(answer, about) as future:
                    if tensors:
                        connection.send(message, tensors).add_done_callback(_forget)
                    else:
                        connection.send_nowait_control(message)
                    return await future
        except TimeoutError:
            cause = f"no `{answer.word}` within {REQUEST_TIMEOUT_S:.0f} s"
            raise LinkError(self.id, self._where, cause) from None

    def _check_version(self, welcome: Welcome) -> None:
        lowest, highest = PROTOCOL_VERSIONS
        if not lowest <= welcome.version <= highest:
            cause = f"the agent talks version {welcome.version}, the host {lowest} to {highest}"
            raise VersionError(self.id, self._where, cause)

    async def _put(self, digest: str, data: AnyArray) -> None:
        await self._ask(Stored, digest, Put(digest, (describe("blob", data),)), (data,))

    async def round_trip(self) -> float:
        """Seconds to the agent and back; the clocks are compared at the midpoint of the shortest so far.

        Raises:
            LinkError: It broke off or stayed silent.
        """
        token = self._next
        self._next += 1
        before = time.monotonic()
        pong = await self._ask(Pong, str(token), Ping(token))
        after = time.monotonic()
        if (after - before) / 2 < self.clock.uncertainty_s:
            self.clock = Clock(pong.clock_s - (before + after) / 2, (after - before) / 2)
        return after - before

    async def _heartbeat(self) -> None:
        while self._is_open and self._connection is not None:
            self._connection.send_nowait_control(Ping(0))
            await asyncio.sleep(HEARTBEAT_S)
            silent_s = time.monotonic() - self._heard_at
            if silent_s > HEARTBEAT_S * MISSED_BEATS:
                self._break_off(f"silent for {silent_s:.0f} s")

    # --- what the connection reports -------------------------------------------------

    def _received(self, _: Connection, message: Message, tensors: tuple[AnyArray, ...]) -> None:
        self._heard_at = time.monotonic()
        match message:
            case Answer():
                self._answer(message, tensors)
            case Credit():
                self._credit += message.bytes
                self._release()
            case Welcome() | Missing() | Vitals() | Stored() | Loaded() | Pong():
                self._requests.answered(message)
            case Fault():
                self._fault(message)
            case Ping() if self._connection is not None:
                self._connection.send_nowait_control(Pong(message.token, time.monotonic()))
            case Bye():
                self._break_off(f"the agent said good-bye: {message.reason}")
            case _:
                pass  # a later version may send more; what must be understood is a fault of the wire

    def _answer(self, answer: Answer, tensors: tuple[AnyArray, ...]) -> None:
        if answer.last:
            self._runs.pop((answer.codeword, answer.part), None)
        if answer.code == UNKNOWN_PROGRAM:
            self._loaded.clear()  # the agent has forgotten programs: the next `prepare` loads them again
        size = sum([tensor.nbytes for tensor in tensors])
        self.bytes_in += size
        self._credit += answer.credit or 0
        if self._is_open:
            self._owner.answered(self, answer, tensors)
        if self._held_back:
            self._release()
        self._owed += size
        if self._owed >= ANSWER_CREDIT_BYTES // 4 and self._connection is not None:
            self._connection.send_nowait_control(Credit(self._owed))
            self._owed = 0

    def _fault(self, fault: Fault) -> None:
        error = (VersionError(self.id, self._where, fault.message) if fault.code == "version"
                 else AgentFaultError(self.id, self._where, fault))  # fmt: skip
        if self._requests.refused(fault.about, error):
            return
        self._last_words = error.cause
        self._requests.failed(error)

    def _lost(self, _: Connection, cause: Exception | None) -> None:
        ended = cause is None or isinstance(cause, ssl.SSLError | ConnectionError)
        if self._welcome is None and not self._last_words and ended:
            # A refused TLS 1.3 client has seen its handshake succeed; the alert comes after it, or is lost.
            self._break_off(HUNG_UP, kind="refused")
        else:
            self._break_off(self._last_words or spoken(cause))

    # --- bookkeeping --------------------------------------------------------------------

    def _release(self) -> None:
        """Send held-back runs as far as the agent's credit goes; a single one may exceed it."""
        whole = self._welcome.credit if self._welcome is not None else 0
        while self._held_back and self._connection is not None and self._is_open:
            run, tensors = self._held_back[0]
            size = sum([tensor.nbytes for tensor in tensors])
            if size > self._credit and self._credit < whole:
                return
            self._held_back.popleft()
            self._credit -= size
            self.bytes_out += size
            self._connection.send_nowait(run, tensors)

    def _break_off(self, cause: str, *, kind: str = "down") -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._last_words = cause  # for whoever asks it later
        self._requests.failed(LinkError(self.id, self._where, cause, kind=kind))
        if self._connection is not None:
            self._connection.close()
        if self._welcome is not None:  # before that, `open` raises instead
            self._owner.lost(self, cause)


def _forget(future: asyncio.Future[None]) -> None:
    """A failed send needs no second report: the loss of the connection is reported by itself."""
    if not future.cancelled():
        future.exception()
