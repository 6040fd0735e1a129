"""Numbers with units: what is read, and what is refused."""

from __future__ import annotations

import pytest

from bench.lab.errors import USAGE, RigError
from bench.lab.units import parse_percent, parse_positive, parse_rate, parse_size, parse_time, rate_text


@pytest.mark.parametrize(
    ("text", "bits"), [("940mbit", 940_000_000), ("1gbit", 10**9), ("2.5Mbit", 2_500_000), ("300kbit", 300_000)]
)
def test_rates(text: str, bits: int) -> None:
    assert parse_rate(text) == bits
    assert parse_rate(rate_text(bits)) == bits


@pytest.mark.parametrize("text", ["", "940", "mbit", "-1mbit", "1 tbit", "7kbit", "1e3mbit"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(RigError, match="is no rate") as raised:
        parse_rate(text)
    assert raised.value.status == USAGE
    assert raised.value.hint


@pytest.mark.parametrize(("text", "microseconds"), [("0", 0), ("0.2ms", 200), ("35us", 35), ("1s", 1_000_000)])
def test_times(text: str, microseconds: int) -> None:
    assert parse_time(text) == microseconds


@pytest.mark.parametrize("text", ["1", "ms", "-1ms", "11s", "1h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(RigError, match="is no delay"):
        parse_time(text)


@pytest.mark.parametrize(("text", "percent"), [("0", 0), ("0.5%", 0.5), ("100", 100)])
def test_percentages(text: str, percent: float) -> None:
    assert parse_percent(text) == percent


@pytest.mark.parametrize("text", ["101", "-1", "x", "", "1%%"])
def test_what_is_no_percentage(text: str) -> None:
    with pytest.raises(RigError, match="is no percentage"):
        parse_percent(text)


def test_sizes() -> None:
    assert [parse_size(text) for text in ("1m", "512k", "65536")] == [1 << 20, 1 << 19, 1 << 16]
    with pytest.raises(RigError, match="buffer"):
        parse_size("1k")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", ""])
def test_what_is_not_above_nothing(text: str) -> None:
    with pytest.raises(RigError, match="is no factor"):
        parse_positive(text, "factor")
