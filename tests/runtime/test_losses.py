"""The worst loss of a code, and what decodes a strip without it."""

from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.codes.registry import default_pieces, make_code, schemes
from cocoi_cli.planning.plan import ConvPlan
from cocoi_cli.runtime.losses import losses_of, survivors, worst_losses


def sizes(scheme: str) -> tuple[int, int]:
    return 6, {"uncoded": 6, "hedged": 1}.get(scheme, default_pieces(scheme, 6) if scheme == "lt" else 4)


@pytest.mark.parametrize(("n", "k", "least"), [(6, 4, 3.8), (10, 8, 9.0), (5, 4, 2.6), (20, 16, 12.0)])
def test_the_rehearsed_losses_are_the_worst_that_the_guard_accepts(n, k, least) -> None:
    code = make_code("coded", n, k, gain_limit=20.0)
    lost, gain = worst_losses(code)
    rest = [share for share in range(n) if share not in lost]
    assert len(lost) == n - k
    assert code.ready(frozenset(rest))
    assert code.decode(rest, np.zeros((k, 1), np.float32)).gain == pytest.approx(gain)
    assert gain >= least


def test_without_spare_shares_nothing_is_lost() -> None:
    assert worst_losses(make_code("uncoded", 4, 4, gain_limit=20.0)) == (frozenset(), 1.0)
    assert worst_losses(make_code("coded", 5, 4, gain_limit=20.0), 0) == (frozenset(), 1.0)


@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize("scheme", schemes())
def test_every_code_decodes_without_its_worst_loss(scheme, host) -> None:
    n, k = sizes(scheme)
    lost = losses_of(ConvPlan("x", scheme, n, k, 2, 1, "f32", "", host=host))
    assert lost <= set(range(n - host))
    code = make_code(scheme, n, k, gain_limit=1000.0)
    shares, added = survivors(code, lost)
    assert code.ready(frozenset(shares))
    assert added == ()
    if code.shares is not None:
        assert not lost & set(shares)


def test_what_no_agent_can_give_the_host_adds() -> None:
    code = make_code("coded", 6, 4, gain_limit=20.0)
    shares, added = survivors(code, frozenset(range(4)))
    assert shares == (4, 5)
    assert code.ready(frozenset((*shares, *added)))
