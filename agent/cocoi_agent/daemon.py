"""The agent as a process: start, serve, stop, and the exit status of each end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from cocoi_agent.bounds import BoundError, bound_data
from cocoi_agent.connection import address_text
from cocoi_agent.journal import Journal, Level
from cocoi_agent.notify import Notifier
from cocoi_agent.selftest import SelfTestFailedError, self_test
from cocoi_agent.service import Service, open_service
from cocoi_agent.store import StoreFailedError
from cocoi_agent.trust import TrustError

if TYPE_CHECKING:
    from cocoi_agent.options import Options


def run(options: Options) -> int:
    """Run an agent until it is told to stop, or only the self-test; return the exit status."""
    journal = Journal(quiet=options.embedded)
    try:
        _bound(options, journal)
        if options.self_test:
            return _test_only(options)
        if options.embedded:
            _embed()
        else:
            self_test(options.threads)
        asyncio.run(_serve(options, journal))
    except SelfTestFailedError as error:
        journal.say(Level.ERROR, f"error: {error}")
        return 1 if options.self_test else 4
    except (BoundError, TrustError, StoreFailedError) as error:
        journal.say(Level.ERROR, f"error: {error}")
        return 3
    except OSError as error:
        reason = error.strerror or error
        where = address_text((options.host, options.port))
        journal.say(Level.ERROR, f"error: cannot listen on {where}: {reason}")
        return 3
    except KeyboardInterrupt:
        return 130
    return 0


def _bound(options: Options, journal: Journal) -> None:
    if options.data_limit is None:
        return
    try:
        bound_data(options.data_limit)
    except OSError as error:  # a sandbox that forbids it: the rest of the agent bounds itself
        journal.say(Level.ERROR, f"error: the data limit cannot be set: {error.strerror or error}")


def _test_only(options: Options) -> int:
    passed = self_test(options.threads)
    sys.stdout.write(json.dumps(dataclasses.asdict(passed)) + "\n")
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


async def _serve(options: Options, journal: Journal) -> None:
    stop, renew = asyncio.Event(), asyncio.Event()
    _handle_signals(options, stop, renew)
    service = await open_service(options, journal, Notifier())
    _announce(options, service)
    work = (stop.wait(), service.look_after(), _renew_when_told(service, renew))
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # what broke must not go on half: revoked certificates would be admitted for ever
    finally:
        for task in tasks:
            task.cancel()
        await service.aclose()


def _handle_signals(options: Options, stop: asyncio.Event, renew: asyncio.Event) -> None:
    """Before any file is read: a signal that comes meanwhile is acted on afterwards."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    if not options.embedded:
        loop.add_signal_handler(signal.SIGINT, stop.set)
        loop.add_signal_handler(signal.SIGHUP, renew.set)


async def _renew_when_told(service: Service, told: asyncio.Event) -> None:
    while True:
        await told.wait()
        told.clear()
        service.renew()


def _announce(options: Options, service: Service) -> None:
    if options.embedded:
        sys.stdout.write(json.dumps({"port": service.port, "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
    service.announce()
