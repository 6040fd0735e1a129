"""Who is asked for spare answers, and how many are waited for."""

from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.codes.copies import CopyCode
from cocoi_cli.codes.registry import default_pieces, make_code
from cocoi_cli.runtime.spares import Evidence, spare_code, witnesses


def evidence(**agents: str) -> Evidence:
    """Answers by share, `s0="a1"` for share 0 of agent a1."""
    shares = {int(share[1:]): agent for share, agent in agents.items()}
    return Evidence(dict.fromkeys(shares, np.zeros(1, np.float32)), shares)


HOMES = ("a0", "a1", "a2", "a3", "a4", "a5")


def coded(n: int, k: int):
    return make_code("coded", n, k, gain_limit=1000)


@pytest.mark.parametrize(
    ("kept", "living", "expected"),
    [
        (evidence(s0="a0", s1="a1", s2="a2", s3="a3"), HOMES, ("", "", "", "", "a4", "a5")),
        (evidence(s0="a0", s1="a1", s2="a2", s3="a3"), HOMES[:5], ("", "", "", "", "a4", "")),
        # a4 gave the share of a3, which is free again and takes that of a4
        (evidence(s0="a0", s1="a1", s2="a2", s3="a4"), HOMES, ("", "", "", "", "a3", "a5")),
        # one agent gave two shares
        (evidence(s0="a0", s1="a1", s2="a0", s3="a1"), HOMES[:2], ("",) * 6),
        # an agent without a share of its own
        (evidence(s0="a0", s1="a1", s2="a2", s3="a3"), ("a0", "a4", "a9"), ("", "", "", "", "a4", "a9")),
    ],
)
def test_only_agents_that_have_said_nothing_are_witnesses(kept, living, expected) -> None:
    assert witnesses(coded(6, 4), kept, HOMES, living) == expected


def test_of_a_rateless_code_those_are_asked_that_have_given_least() -> None:
    code = make_code("lt", 6, 3, gain_limit=1000)
    kept = evidence(s4="a0", s5="a1", s7="a0")
    assert witnesses(code, kept, HOMES[:3], HOMES[:3]) == ("",) * 8 + ("a2", "a1", "a0")


def test_shares_with_filters_of_their_own_stay_at_home() -> None:
    code = make_code("fcdcc", 6, default_pieces("fcdcc", 6), gain_limit=1000, filters=2)
    kept = evidence(s0="a0", s1="a1", s2="a2")
    assert witnesses(code, kept, HOMES, ("a3", "a9")) == ("", "", "", "a3", "", "")


@pytest.mark.parametrize(
    ("code", "kept", "givers", "spares", "target"),
    [
        (coded(6, 4), (0, 1, 2, 3), ("", "", "", "", "a4", "a5"), 2, 6),
        (coded(6, 4), (0, 1, 2, 3), ("", "", "", "", "a4", "a5"), 1, 5),
        (coded(6, 4), (0, 1, 2, 3), ("",) * 6, 2, 4),
        (coded(6, 4), (0, 1, 2, 3, 5), ("", "", "", "", "a4", ""), 2, 6),
        (CopyCode("hedged", 6, 1), (2,), ("a0", "a1", "", "a3", "a4", "a5"), 2, 3),
        # Each of the three pieces wants copies of its own.
        (CopyCode("replication", 6, 3), (0, 1, 2), ("", "", "", "a3", "a4", "a5"), 1, 6),
        (CopyCode("replication", 6, 2), (0, 1), ("", "", "a2", "a3", "a4", "a5"), 1, 4),
        (make_code("lt", 6, 3, gain_limit=1000), (4, 5, 7), ("",) * 8 + ("a3", "a0"), 1, 4),
    ],
)
def test_as_many_are_waited_for_as_can_be(code, kept, givers, spares, target) -> None:
    found = spare_code(code, kept, givers, spares)
    assert (found.target, found.needed, found.movable) == (target, 0, False)
    have = frozenset(kept)
    assert found.deficit(have) == target - len(kept)
    assert found.ready(have) == (target == len(kept))
    added = found.completing(have)
    assert len(added) == target - len(kept)
    assert not have & set(added)
    assert found.ready(have | set(added))
    assert all(found.useful(share, have) for share in added)
