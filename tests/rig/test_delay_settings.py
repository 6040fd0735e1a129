"""The records that the delay line reads, against its C source."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from bench.lab.delay_settings import SETTING, Counted, make_file, queues, read_counted, write_setting


def test_both_directions_of_a_link_are_told_the_same(tmp_path: Path) -> None:
    file = tmp_path / "delays"
    make_file(file, 3)
    write_setting(file, 1, 200, 0.5)
    records = list(SETTING.iter_unpack(file.read_bytes()))
    assert records == [(0, 0, 0, 0)] * 2 + [(200, 5000, 0, 0)] * 2 + [(0, 0, 0, 0)] * 2


def test_what_the_program_counts_stays(tmp_path: Path) -> None:
    file = tmp_path / "delays"
    file.write_bytes(struct.pack("=8I", 1, 2, 30, 4, 1, 2, 50, 6))
    write_setting(file, 0, 7, 100)
    assert file.read_bytes() == struct.pack("=8I", 7, 1_000_000, 30, 4, 7, 1_000_000, 50, 6)
    assert read_counted(file, 0) == (Counted(30, 4), Counted(50, 6))


def test_no_two_directions_share_a_queue() -> None:
    assert sorted(queue for link in range(50) for queue in queues(link)) == list(range(100))


def test_the_record_is_the_one_of_the_source(repository: Path) -> None:
    source = (repository / "bench/lab/delayline.c").read_text()
    body = re.search(r"struct setting \{(.*?)\};", source, re.DOTALL)
    assert body is not None
    names = re.findall(r"\b(delay_us|loss_ppm|packets|lost)\b(?=[,;])", body[1])
    assert names == ["delay_us", "loss_ppm", "packets", "lost"]
    assert body[1].count("uint32_t") == 2
    assert SETTING.size == 16
