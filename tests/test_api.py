"""`Fleet` where an interrupt comes: what was started is closed, in order, whenever it comes."""

from __future__ import annotations

import asyncio
import signal

import pytest

from cocoi_cli.api import Fleet


class RecordingEngine:
    """In place of an engine with agents: says what was asked of it."""

    def __init__(self, *, is_quick: bool) -> None:
        self.is_quick = is_quick
        self.events: list[str] = []

    async def start(self) -> None:
        self.events.append("start")
        try:
            if not self.is_quick:
                await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.events.append("started or cleaned up")

    async def aclose(self) -> None:
        self.events.append("aclose")


def interrupt_on_call(monkeypatch, *, after_the_end: bool) -> None:
    """The first coroutine that is handed to the loop's thread is interrupted at once, or when it is done."""
    submit, interrupts = asyncio.run_coroutine_threadsafe, [KeyboardInterrupt]

    def interrupted(coroutine, loop):
        future = submit(coroutine, loop)
        if interrupts:
            if after_the_end:
                future.result()
            raise interrupts.pop()
        return future

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)


@pytest.mark.parametrize("is_quick", [True, False])
def test_agents_whose_start_was_interrupted_are_closed_after_it(monkeypatch, is_quick):
    engine = RecordingEngine(is_quick=is_quick)
    interrupt_on_call(monkeypatch, after_the_end=is_quick)
    with pytest.raises(KeyboardInterrupt):
        Fleet(lambda: engine).__enter__()  # type: ignore[arg-type,return-value]
    assert engine.events == ["start", "started or cleaned up", "aclose"]


def test_the_fleet_can_be_started_again(monkeypatch):
    engine = RecordingEngine(is_quick=True)
    interrupt_on_call(monkeypatch, after_the_end=True)
    fleet = Fleet(lambda: engine)  # type: ignore[arg-type,return-value]
    with pytest.raises(KeyboardInterrupt):
        fleet.__enter__()
    with fleet:
        pass
    assert engine.events == ["start", "started or cleaned up", "aclose"] * 2


@pytest.mark.parametrize("at", range(3))
def test_closing_is_not_cut_off(monkeypatch, at):
    """The signal comes while a step of closing is handed to the loop's thread, which lets go of the lock."""
    engine = RecordingEngine(is_quick=True)
    fleet = Fleet(lambda: engine).__enter__()  # type: ignore[arg-type,return-value]
    loop, submit, calls = fleet._loop, asyncio.run_coroutine_threadsafe, []

    def signalled(coroutine, loop):
        calls.append(coroutine)
        future = submit(coroutine, loop)
        if len(calls) == at + 1:
            signal.raise_signal(signal.SIGINT)
        return future

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", signalled)
    with pytest.raises(KeyboardInterrupt):
        fleet.close()
    assert len(calls) == 3
    assert engine.events[-1] == "aclose"
    assert loop.is_closed()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
