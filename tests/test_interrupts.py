"""Signals that come while something is closed: heard afterwards, or not at all."""

from __future__ import annotations

import signal
import threading

import pytest

from cocoi_cli.interrupts import ENDS, held_back


@pytest.fixture
def heard():
    """The signals that the process's own handlers hear."""
    found: list[int] = []
    before = {each: signal.signal(each, lambda number, _frame: found.append(number)) for each in ENDS}
    yield found
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_is_heard_when_all_is_closed(heard, number):
    with held_back():
        signal.raise_signal(number)
        assert heard == []
    assert heard == [number]


def test_of_several_the_first_is_heard(heard):
    with held_back():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert heard == [signal.SIGTERM]


def test_on_the_way_out_none_is_heard(heard):
    with held_back(forget=True):
        signal.raise_signal(signal.SIGINT)
    assert heard == []


def test_what_went_wrong_goes_before_a_signal(heard):
    def close() -> None:
        with held_back():
            signal.raise_signal(signal.SIGINT)
            int("closing")

    with pytest.raises(ValueError, match="closing"):
        close()
    assert heard == []
    signal.raise_signal(signal.SIGINT)
    assert heard == [signal.SIGINT]


def test_what_is_ignored_stays_so(heard):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with held_back():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nothing_is_changed(heard):
    seen = []

    def close() -> None:
        with held_back():
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=close)
    thread.start()
    thread.join()
    assert seen == [before]
