"""The words that shape a link."""

from __future__ import annotations

import pytest

from bench.lab.network import BURST_BYTES
from bench.lab.shaping import Quality, netem_words, rule_words, tbf_words


@pytest.mark.parametrize("rate", [300_000, 50_000_000, 940_000_000, 10_000_000_000])
def test_a_whole_burst_fits_into_the_bucket(rate: int) -> None:
    words = tbf_words(rate, 1 << 20)
    bucket = int(words[words.index("burst") + 1])
    assert bucket > BURST_BYTES
    assert bucket <= max(BURST_BYTES + 200, rate / 8 / 1000)  # an idle link passes less than a millisecond at once


def test_rate_and_buffer() -> None:
    assert tbf_words(50_000_000, 65536) == ["tbf", "rate", "50000000bit", "burst", "15140", "limit", "65536"]


def test_netem_says_loss_only_where_there_is_one() -> None:
    assert netem_words(Quality(200, 0)) == ["netem", "limit", "20000", "delay", "200us"]
    assert netem_words(Quality(0, 0.5))[-4:] == ["delay", "0us", "loss", "0.5%"]


def test_each_direction_has_a_queue_and_survives_the_delay_line() -> None:
    away, towards = rule_words(3, "p3")
    assert " ".join(away) == "PREROUTING -m physdev --physdev-in p3 -j NFQUEUE --queue-num 6 --queue-bypass"
    assert " ".join(towards) == "POSTROUTING -m physdev --physdev-out p3 -j NFQUEUE --queue-num 7 --queue-bypass"


def test_a_perfect_link_needs_nothing() -> None:
    assert Quality(0, 0).is_perfect
    assert not Quality(1, 0).is_perfect
    assert not Quality(0, 0.1).is_perfect
