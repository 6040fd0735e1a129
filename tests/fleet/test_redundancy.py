from __future__ import annotations

from cocoi_cli.codes.registry import default_pieces
from cocoi_cli.fleet.redundancy import enough, may_be_away


def test_agents_are_taken_away_only_as_the_code_allows_and_one_at_a_time_where_it_allows_none():
    assert [may_be_away(agents) for agents in range(1, 9)] == [1, 1, 1, 1, 2, 2, 2, 2]
    for agents in range(1, 65):
        assert enough(agents) == default_pieces("coded", agents)
        assert enough(agents) + may_be_away(agents) == agents or agents == 1
