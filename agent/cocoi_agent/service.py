"""The life of a running agent: listening, looking after itself, new certificates, the end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import onnxruntime

from cocoi_agent import __version__
from cocoi_agent.connection import address_text
from cocoi_agent.engine import Engine
from cocoi_agent.journal import Journal, Kind, Level
from cocoi_agent.listening import interface_addresses, moved_to
from cocoi_agent.server import Server, serve
from cocoi_agent.store import DiskStore, MemoryStore, Store
from cocoi_agent.trust import TrustError, agent_context
from cocoi_agent.vitals import memory_bytes
from cocoi_agent.wire.limits import DEFAULT_MAX_TAIL
from cocoi_agent.wire.messages import Bye
from cocoi_agent.worker import DEFAULT_PROGRAM_LIMIT, Settings, Worker

if TYPE_CHECKING:
    import ssl

    from cocoi_agent.notify import Notifier
    from cocoi_agent.options import Options

TICK_S: Final = 2.0


class Service:
    """One agent and what it listens on; made by `open_service`."""

    def __init__(self, options: Options, worker: Worker, server: Server, journal: Journal, notifier: Notifier) -> None:
        self._options = options
        self._worker = worker
        self._server = server
        self._journal = journal
        self._notifier = notifier
        self._checking = False

    @property
    def port(self) -> int:
        """The port that was bound."""
        return self._server.port

    def announce(self) -> None:
        """Say that the agent takes connections."""
        options = self._options
        protection = "mutual TLS" if options.secure else "no protection"
        where = address_text((self._server.host, self.port))
        text = f"{options.name} listens on {where} with {protection}"
        text += f" (cocoi-agent {__version__}, ONNX Runtime {onnxruntime.__version__})"
        if not options.secure and (options.cert or options.key or options.peer):
            text += ": --security none, the certificates given are not read"
        self._journal.say(Level.NOTICE if options.secure else Level.WARNING, text)
        self._notifier.ready(f"listening on port {self.port}")

    async def look_after(self) -> None:
        """Look after connections and address, and tell the watchdog that the compute thread answers.

        While the thread does not come to the check, no further one is sent and the
        watchdog hears nothing. Ends by being cancelled.
        """
        watchdog_s = self._notifier.watchdog_s
        pause = TICK_S if watchdog_s is None else min(TICK_S, watchdog_s / 4)
        while True:
            self._worker.tick()
            self._journal.tick()
            self._follow()
            if self._checking:
                self._notifier.busy(f"computing; {self._load()}")
            else:
                self._checking = True
                self._worker.check(self._checked)
            await asyncio.sleep(pause)

    def renew(self) -> None:
        """Read certificates and key anew; unfit ones leave the old in force."""
        if not self._options.secure:
            self._journal.say(Level.NOTICE, "nothing to read anew: connections are not protected")
            return
        try:
            context = _context(self._options)
        except TrustError as error:
            self._journal.say(Level.ERROR, f"error: {error}; the certificates read before stay in force")
            return
        if context is not None:
            self._server.renew(context, Bye("the agent has new certificates"))
            self._journal.say(
                Level.NOTICE, "the certificates were read anew; what was connected under the old is closed"
            )

    async def aclose(self) -> None:
        """Tell the hosts, and end."""
        self._notifier.stopping()
        self._journal.say(Level.NOTICE, f"{self._options.name} stops")
        self._worker.on_stop()
        await self._server.aclose()
        self._worker.close()

    def _checked(self) -> None:
        self._checking = False
        self._notifier.alive(self._load())

    def _load(self) -> str:
        return f"{self._worker.runs.backlog} parts queued, {self._worker.runs.served} served"

    def _follow(self) -> None:
        """Listen where the interface is now: a lease may have changed."""
        interface, bound = self._options.interface, self._server.host
        if not interface:
            return
        try:
            address = moved_to(bound, interface_addresses(interface))
            if address is not None:
                self._server.move(address)
                text = f"{interface} has the address {address} and no more {bound}: listening on {address}:{self.port}"
                self._journal.say(Level.NOTICE, text)
        except OSError as error:
            reason = error.strerror or str(error)
            self._journal.note(Kind.TROUBLE, f"error: cannot follow the address of {interface}: {reason}")


_LEFT: Final = frozenset({"ConnectionResetError", "ConnectionAbortedError", "BrokenPipeError"})


async def open_service(options: Options, journal: Journal, notifier: Notifier) -> Service:
    """Open the store and listen.

    Raises:
        TrustError: If a certificate or key is unfit.
        StoreFailedError: If the folder of the store is unfit.
        OSError: If the address cannot be bound.
    """
    context = _context(options)
    worker = Worker(settings_of(options), Engine(options.threads), _store(options), time.monotonic, journal.note)

    def refused(peer: str, reason: str) -> None:
        if reason in _LEFT:
            return  # somebody looked whether the port is open, or gave up; nobody was turned away
        journal.note(Kind.REFUSED, f"{peer} is refused: {reason}")

    try:
        server = await serve(
            options.host,
            options.port,
            ssl_context=context,
            on_connect=worker.on_connect,
            on_message=worker.on_message,
            on_lost=worker.on_lost,
            limits=worker.limits,
            admit=worker.admit,
            on_refused=refused,
            freebind=options.interface is not None,
        )
    except BaseException:
        worker.close()
        raise
    return Service(options, worker, server, journal, notifier)


def _context(options: Options) -> ssl.SSLContext | None:
    """What the files hold now; None where connections are not protected."""
    if not options.secure or options.cert is None or options.key is None or options.peer is None:
        return None
    return agent_context(options.cert, options.key, options.peer)


def settings_of(options: Options) -> Settings:
    """The limits that the command line asked for."""
    room = options.data_limit or memory_bytes()
    return Settings(
        name=options.name,
        memory_limit=options.memory_limit,
        queue_limit=options.queue_limit,
        max_connections=options.connection_limit,
        max_tail=min(DEFAULT_MAX_TAIL, options.memory_limit),
        # The other half is for what runs compute with, and for the rest of the process.
        program_limit=room // 2 if room else DEFAULT_PROGRAM_LIMIT,
    )


def _store(options: Options) -> Store:
    return MemoryStore(options.store_limit) if options.store is None else DiskStore(options.store, options.store_limit)
