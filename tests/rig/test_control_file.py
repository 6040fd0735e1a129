"""What is written for an agent is what it reads: at once, whole, and once."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from bench.lab.behaviour import Behaviour, Delay, Lie
from bench.lab.control_file import SIZE, ControlReader, make_control_file, write_behaviour

SLOW = Behaviour(Delay("exp", 0.25, 3), Lie("noise", 0.1))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "control"
    make_control_file(made)
    return made


def test_a_new_file_asks_for_nothing(file: Path) -> None:
    assert ControlReader(file).news() == Behaviour()


def test_news_is_told_once(file: Path) -> None:
    reader = ControlReader(file)
    reader.news()
    assert reader.news() is None
    write_behaviour(file, SLOW)
    assert reader.news() == SLOW
    assert reader.news() is None
    write_behaviour(file, Behaviour())
    assert reader.news() == Behaviour()


def test_the_same_said_again_is_news(file: Path) -> None:
    reader = ControlReader(file)
    for _ in range(3):
        write_behaviour(file, SLOW)
        assert reader.news() == SLOW  # draws begin anew


def test_a_later_agent_reads_what_was_said_before(file: Path) -> None:
    write_behaviour(file, SLOW)
    make_control_file(file)  # as when the device is started again
    assert ControlReader(file).news() == SLOW


def test_a_shorter_text_leaves_nothing_of_a_longer_one(file: Path) -> None:
    reader = ControlReader(file)
    write_behaviour(file, Behaviour(Delay("trace", seed=123456789), Lie("flip")))
    write_behaviour(file, Behaviour())
    assert reader.news() == Behaviour()
    assert file.stat().st_size == SIZE


def test_what_is_being_written_is_not_read(file: Path) -> None:
    reader = ControlReader(file)
    reader.news()
    write_behaviour(file, SLOW)
    whole = file.read_bytes()
    (version,) = struct.unpack_from("=I", whole)
    with file.open("r+b") as out:
        out.write(struct.pack("=I", version - 1))
    assert reader.news() is None
    with file.open("r+b") as out:
        out.write(whole)
    assert reader.news() == SLOW
