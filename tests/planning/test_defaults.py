from __future__ import annotations

from dataclasses import replace

import pytest

from cocoi_cli.codes.errors import BadCodeError, IllConditionedError, UnknownSchemeError
from cocoi_cli.model.network import ConvLayer, ConvSpec
from cocoi_cli.planning.defaults import default_plan, gain_limit, strips_per_piece
from cocoi_cli.planning.errors import BadSizeError, TooFewAgentsError, UnknownTransportError
from cocoi_cli.planning.plan import ConvPlan, Plan


def conv(*output: int, macs: int = 10**8, obstacle: str | None = None) -> ConvLayer:
    """A 3 by 3 layer of 64 channels with these output lengths."""
    ones = (1,) * len(output)
    spec = ConvSpec(
        kernel=(3,) * len(output),
        strides=ones,
        dilations=ones,
        pads_begin=ones,
        pads_end=ones,
        group=1,
        in_channels=64,
        out_channels=64,
    )
    shape = (1, 64, *output)
    return ConvLayer("conv", spec, input_shape=shape, output_shape=shape, dtype="float32", macs=macs, obstacle=obstacle)


def plan(
    *layers: ConvLayer,
    agents: int = 6,
    scheme: str = "coded",
    n: int | None = None,
    k: int | None = None,
    transport: str = "f16",
) -> Plan:
    return default_plan(layers, agents=agents, scheme=scheme, n=n, k=k, transport=transport)


def decide(layer: ConvLayer, *, n: int = 6, k: int = 4) -> ConvPlan:
    (decided,) = plan(layer, agents=n, n=n, k=k, transport="f32").layers
    return decided


@pytest.mark.parametrize(
    ("scheme", "agents", "n", "k"),
    [
        ("coded", 1, 1, 1),
        ("coded", 2, 2, 1),
        ("coded", 4, 4, 3),
        ("coded", 5, 5, 3),
        ("coded", 6, 6, 4),
        ("coded", 10, 10, 8),
        ("uncoded", 6, 6, 6),
        ("replication", 1, 1, 1),
        ("replication", 6, 6, 3),
        ("replication", 7, 7, 3),
    ],
)
def test_takes_all_live_agents_and_the_pieces_of_the_scheme(scheme: str, agents: int, n: int, k: int) -> None:
    made = plan(conv(56, 56), scheme=scheme, agents=agents)
    assert (made.scheme, made.n, made.k) == (scheme, n, k)
    assert [(layer.scheme, layer.n, layer.k) for layer in made.layers] == [(scheme, n, k)]


def test_takes_fewer_agents_when_asked_and_derives_the_pieces_from_them() -> None:
    assert (plan(n=5).n, plan(n=5).k) == (5, 3)
    assert (plan(n=4).n, plan(n=4).k) == (4, 3)
    assert (plan(n=6, k=2).n, plan(n=6, k=2).k) == (6, 2)
    assert (plan(k=6).n, plan(k=6).k) == (6, 6)


@pytest.mark.parametrize(("n", "k", "symbol", "asked"), [(7, None, "n", 7), (7, 4, "n", 7), (None, 7, "k", 7)])
def test_asking_for_more_than_are_live_is_a_matter_of_the_fleet(
    n: int | None, k: int | None, symbol: str, asked: int
) -> None:
    with pytest.raises(
        TooFewAgentsError, match=f"`{symbol}` = {asked} was asked for, and 6 agents are live"
    ) as refusal:
        plan(conv(56, 56), n=n, k=k)
    error = refusal.value
    assert (error.code, error.exit_status, error.details) == ("too-few-agents", 4, {"asked": asked, "live": 6})


@pytest.mark.parametrize(
    ("n", "k", "rule"),
    [(0, None, "n is at least 1"), (-1, 1, "n is at l"), (None, 0, "k is at least 1"), (4, 5, "k is at most n")],
)
def test_asking_for_the_impossible_is_a_matter_of_usage(n: int | None, k: int | None, rule: str) -> None:
    with pytest.raises(BadSizeError, match=rule) as refusal:
        plan(conv(56, 56), n=n, k=k)
    assert (refusal.value.code, refusal.value.exit_status) == ("bad-size", 2)


def test_what_the_code_refuses_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(BadCodeError):
        plan(scheme="uncoded", n=6, k=4)
    with pytest.raises(UnknownSchemeError):
        plan(scheme="magic")
    with pytest.raises(IllConditionedError):
        plan(agents=64, k=48, transport="f16")
    assert plan(agents=64, k=48, transport="f32").k == 48
    with pytest.raises(UnknownTransportError, match="unknown transport type `f8`; known are `f16`, `f32`"):
        plan(transport="f8")


def test_the_local_scheme_leaves_everything_on_the_host() -> None:
    made = plan(conv(56, 56), conv(56, 56, obstacle="weights computed at run time"), scheme="local", agents=0)
    assert made.distributed == frozenset()
    assert [layer.reason for layer in made.layers] == ["asked for", "weights computed at run time"]
    assert {(layer.scheme, layer.n, layer.k, layer.axis, layer.strips) for layer in made.layers} == {
        ("local", 0, 0, 0, 0)
    }


def test_without_live_agents_everything_is_local_unless_agents_were_asked_for() -> None:
    assert [layer.reason for layer in plan(conv(56, 56), agents=0).layers] == ["no agent is live"]
    with pytest.raises(TooFewAgentsError, match="0 agents are live"):
        plan(conv(56, 56), agents=0, n=4)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (conv(56, 56, obstacle="quantised weights"), "quantised weights"),
        (replace(conv(56, 56), output_shape=()), "unknown shape"),
        (replace(conv(56, 56), input_shape=()), "unknown shape"),
        (replace(conv(56, 56), spec=None), "unknown shape"),
        (conv(56, 56, macs=30_000), "0.03 MMAC: too small to cut"),
        (conv(56, 56, macs=99_999), "0.10 MMAC: too small to cut"),
        (conv(3, 3), "3 rows, fewer than k = 4"),
        (conv(3, 2), "3 rows, fewer than k = 4"),
        (conv(3), "3 positions, fewer than k = 4"),
        (conv(3, 3, 3), "3 planes, fewer than k = 4"),
    ],
)
def test_says_why_a_layer_stays_local(layer: ConvLayer, reason: str) -> None:
    decided = decide(layer)
    assert not decided.distributed
    assert decided.reason == reason


@pytest.mark.parametrize(
    ("layer", "axis", "strips", "reason"),
    [
        (conv(56, 56), 2, 3, "(6,4) over 56 rows, 3 strips"),
        (conv(56, 56, macs=100_000), 2, 3, "(6,4) over 56 rows, 3 strips"),
        (conv(4, 400), 2, 1, "(6,4) over 4 rows, 1 strip"),
        (conv(3, 400), 3, 3, "(6,4) over 400 columns, 3 strips"),
        (conv(1, 4), 3, 1, "(6,4) over 4 columns, 1 strip"),
        (conv(100), 2, 3, "(6,4) over 100 positions, 3 strips"),
        (conv(2, 56, 56), 3, 3, "(6,4) over 56 rows, 3 strips"),
    ],
)
def test_cuts_rows_and_only_where_they_are_too_few_a_later_axis(
    layer: ConvLayer, axis: int, strips: int, reason: str
) -> None:
    decided = decide(layer)
    assert (decided.axis, decided.strips, decided.reason) == (axis, strips, reason)


@pytest.mark.parametrize(
    ("n", "k", "length", "strips"),
    [
        (10, 8, 224, 5),
        (10, 8, 112, 5),
        (10, 8, 56, 1),
        (10, 8, 14, 1),
        (6, 4, 224, 3),
        (6, 4, 28, 3),
        (6, 4, 14, 2),
        (4, 4, 56, 2),
        (4, 4, 40, 5),
        (10, 7, 224, 4),  # nothing divides: the most even
        (1, 1, 7, 1),
    ],
)
def test_strips_spread_the_answers_evenly(n: int, k: int, length: int, strips: int) -> None:
    assert strips_per_piece(length, n=n, k=k) == strips


@pytest.mark.parametrize("n", range(1, 13))
def test_strips_are_few_never_thin_and_even_where_that_is_possible(n: int) -> None:
    for k in range(1, n + 1):
        for length in range(k, 230, 3):
            strips = strips_per_piece(length, n=n, k=k)
            rows = -(-length // k)
            assert 1 <= strips <= 5
            assert strips == 1 or rows >= 2 * strips
            if any(k * m % n == 0 for m in range(1, min(5, rows // 2) + 1)):
                assert k * strips % n == 0


def test_the_guard_of_each_transport_type() -> None:
    assert (gain_limit("f16"), gain_limit("f32")) == (20, 1000)
