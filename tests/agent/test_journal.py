"""Lines on stderr: levels, bounds, and nothing that a peer could forge."""

from __future__ import annotations

import pytest

from cocoi_agent.journal import BURST, REFILL_S, Journal, Kind, Level
from tests.agent.host import ManualClock


@pytest.fixture
def lines() -> list[str]:
    return []


def test_priorities_are_written_for_the_journal_only(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    Journal(write=lines.append).say(Level.ERROR, "a")
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    journal = Journal(write=lines.append)
    for level in Level:
        journal.say(level, "b")
    assert lines == ["a\n", "<3>b\n", "<4>b\n", "<5>b\n", "<6>b\n"]


def test_a_flood_of_one_kind_is_bounded_and_counted(lines: list[str]) -> None:
    clock = ManualClock()
    journal = Journal(clock=clock, write=lines.append)
    for at in range(1000):
        journal.note(Kind.REFUSED, f"scan {at}")
    assert len(lines) == BURST
    journal.note(Kind.CONNECTED, "a host")  # another kind is not held back
    assert lines[-1] == "a host\n"
    journal.tick()
    assert len(lines) == BURST + 1
    clock.now += REFILL_S
    journal.tick()
    assert lines[-1] == f"{1000 - BURST} more lines such as these were withheld (refused)\n"
    for _ in range(100_000):
        clock.now += 0.1
        journal.note(Kind.REFUSED, "scan")
    assert len(lines) < BURST + 2 + 2 * 10_000 / REFILL_S + 2


def test_peers_cannot_write_lines_of_their_own(lines: list[str]) -> None:
    journal = Journal(write=lines.append)
    journal.note(Kind.CONNECTED, "host `x\n<0>panic\x1b[31m` " + "y" * 5000)
    assert lines[0].startswith("host `x?<0>panic?[31m` ")
    assert lines[0].count("\n") == 1
    assert len(lines[0]) < 700


def test_quiet_means_errors_only(lines: list[str]) -> None:
    journal = Journal(quiet=True, write=lines.append)
    journal.note(Kind.REFUSED, "a")
    journal.say(Level.NOTICE, "b")
    journal.say(Level.ERROR, "c")
    assert lines == ["c\n"]
