from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.codes.errors import BadCodeError
from cocoi_cli.codes.families.hedged import STRIPS_PER_AGENT, default_pieces, make


def test_any_single_answer_is_the_tile() -> None:
    code = make(5, 1, gain_limit=1)
    tile = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    assert (code.name, code.shares, code.pieces, code.needed, code.movable) == ("hedged", 5, 1, 1, True)
    for share in range(5):
        assert code.ready({share})
        assert np.shares_memory(code.encode(tile, share), tile)
        np.testing.assert_array_equal(code.decode((share,), tile).pieces[0], tile[0])
    assert code.completing(set()) == (0,)
    assert [default_pieces(agents) for agents in (1, 10)] == [1, 1]
    assert STRIPS_PER_AGENT == 2


@pytest.mark.parametrize(("n", "k"), [(4, 2), (0, 1), (4, 0)])
def test_a_tile_is_one_piece(n: int, k: int) -> None:
    with pytest.raises(BadCodeError):
        make(n, k, gain_limit=1)
