"""An agent, or a way to one, that is stuck in a place nobody foresaw."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from cocoi_agent import daemon, options
from cocoi_agent.journal import Journal
from cocoi_agent.transport import ConnectError, connect
from tests.agent.processes import in_loop

WAIT_S = 20


class Service:
    """One whose `renew` or `look_after` breaks."""

    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.closed = False
        self.port = 1

    def announce(self) -> None:
        if self.broken == "renew":
            os.kill(os.getpid(), signal.SIGHUP)

    def renew(self) -> None:
        raise MemoryError

    async def look_after(self) -> None:
        if self.broken == "look_after":
            raise MemoryError
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("broken", ["renew", "look_after"])
def test_an_agent_that_cannot_do_its_work_any_more_ends_and_is_started_anew(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would go on for ever under certificates that were revoked, or without a watchdog."""
    service = Service(broken)

    async def opened(*_: object) -> Service:
        return service

    monkeypatch.setattr(daemon, "open_service", opened)
    found = options.parse(["--security", "none", "--port", "0"])

    async def serve() -> None:
        async with asyncio.timeout(WAIT_S):
            await daemon._serve(found, Journal(quiet=True))

    with pytest.raises(MemoryError):
        asyncio.run(serve())
    assert service.closed


@in_loop
async def test_an_address_is_connected_to_although_every_thread_waits_for_a_name() -> None:
    never = threading.Event()
    loop = asyncio.get_running_loop()
    stuck = [loop.run_in_executor(None, never.wait) for _ in range(64)]  # more than asyncio has threads
    try:
        with pytest.raises(ConnectError, match=r"cannot connect to 127\.0\.0\.1:1: ") as caught:
            await connect("127.0.0.1", 1, ssl_context=None, on_message=print, on_lost=print, timeout_s=WAIT_S)
        assert caught.value.kind == "refused"
        with pytest.raises(ConnectError, match=r"cannot connect to \[::1\]:1: "):
            await connect("::1", 1, ssl_context=None, on_message=print, on_lost=print, timeout_s=WAIT_S)
    finally:
        never.set()
        await asyncio.gather(*stuck)
