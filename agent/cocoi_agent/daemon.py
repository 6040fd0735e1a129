"""The agent as a process: start, serve, watch itself, stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from cocoi_agent.engine import Engine
from cocoi_agent.notify import Notifier
from cocoi_agent.store import DiskStore, MemoryStore, Store, StoreFailedError
from cocoi_agent.transport import Server, serve
from cocoi_agent.trust import TrustError, agent_context
from cocoi_agent.wire.limits import DEFAULT_MAX_TAIL
from cocoi_agent.worker import Settings, Worker

if TYPE_CHECKING:
    from cocoi_agent.options import Options

TICK_S: Final = 2.0

_ERROR: Final = "<3>"  # priorities that the journal understands
_NOTICE: Final = "<5>"


def run(options: Options) -> int:
    """Run an agent until it is told to stop; return the exit status."""
    if options.embedded:
        _embed()
    try:
        asyncio.run(_serve(options))
    except (TrustError, StoreFailedError) as error:
        _log(_ERROR, f"error: {error}")
        return 3
    except OSError as error:
        _log(_ERROR, f"error: cannot listen on {options.host}:{options.port}: {error.strerror or error}")
        return 3
    except KeyboardInterrupt:
        return 130
    return 0


def _embed() -> None:
    """Belong to the host that started us: leave Ctrl-C to it, and end when it does.

    The host holds the other end of standard input; the system closes it however the
    host ends, SIGKILL included, on every platform.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # already a leader: the host made the session
        os.setsid()
    threading.Thread(target=_end_with_input, name="parent", daemon=True).start()


def _end_with_input() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os._exit(0)  # at once: nothing that is computed has a reader any more


async def _serve(options: Options) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM,) if options.embedded else (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    notifier = Notifier()
    worker = Worker(_settings(options), Engine(options.threads), _store(options), time.monotonic)
    server = await _listen(options, worker)
    _announce(options, server, notifier)
    ticking = asyncio.create_task(_tick(worker, notifier))
    try:
        await stop.wait()
    finally:
        notifier.stopping()
        ticking.cancel()
        worker.on_stop()
        await server.aclose()
        worker.close()


def _settings(options: Options) -> Settings:
    return Settings(
        name=options.name,
        memory_limit=options.memory_limit,
        queue_limit=options.queue_limit,
        max_connections=options.connection_limit,
        max_tail=min(DEFAULT_MAX_TAIL, options.memory_limit),
    )


def _store(options: Options) -> Store:
    return MemoryStore(options.store_limit) if options.store is None else DiskStore(options.store, options.store_limit)


async def _listen(options: Options, worker: Worker) -> Server:
    context = None
    if options.cert is not None and options.key is not None and options.peer is not None:
        context = agent_context(options.cert, options.key, options.peer)
    return await serve(
        options.host,
        options.port,
        ssl_context=context,
        on_connect=worker.on_connect,
        on_message=worker.on_message,
        on_lost=worker.on_lost,
        limits=worker.limits,
        admit=worker.admit,
    )


def _announce(options: Options, server: Server, notifier: Notifier) -> None:
    if options.embedded:
        sys.stdout.write(json.dumps({"port": server.port, "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
    else:
        protection = "mutual TLS" if options.secure else "no protection"
        _log(_NOTICE, f"{options.name} listens on {options.host}:{server.port} with {protection}")
    notifier.ready(f"listening on port {server.port}")


async def _tick(worker: Worker, notifier: Notifier) -> None:
    """Look after the connections, and tell the watchdog that the compute thread answers.

    While the thread does not come to the check, no further one is sent and the
    watchdog hears nothing.
    """
    pause = TICK_S if notifier.watchdog_s is None else min(TICK_S, notifier.watchdog_s / 4)
    waiting = False

    def answered() -> None:
        nonlocal waiting
        waiting = False
        notifier.alive(f"{worker.runs.backlog} parts queued, {worker.runs.served} served")

    while True:
        worker.tick()
        if not waiting:
            waiting = True
            worker.check(answered)
        await asyncio.sleep(pause)


def _log(priority: str, text: str) -> None:
    """One line on stderr; the priority only where the journal reads it."""
    prefix = priority if "JOURNAL_STREAM" in os.environ else ""
    sys.stderr.write(f"{prefix}{text}\n")
    sys.stderr.flush()
