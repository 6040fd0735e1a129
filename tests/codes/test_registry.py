from __future__ import annotations

from pathlib import Path

import pytest

from cocoi_cli.codes import families
from cocoi_cli.codes.errors import UnknownSchemeError
from cocoi_cli.codes.registry import default_pieces, make_code, schemes


def test_every_file_of_the_families_folder_is_a_scheme() -> None:
    files = {path.stem for folder in families.__path__ for path in Path(folder).glob("[!_]*.py")}
    assert len(files) == len(schemes())
    assert {"coded", "replication", "uncoded"} <= set(schemes())


@pytest.mark.parametrize("scheme", schemes())
@pytest.mark.parametrize("agents", [1, 2, 4, 6, 10])
def test_every_scheme_makes_the_code_it_suggests(scheme: str, agents: int) -> None:
    k = default_pieces(scheme, agents)
    code = make_code(scheme, agents, k, gain_limit=1000)
    assert (code.name, code.pieces, code.shares) == (scheme, k, agents)
    assert code.ready(set(range(agents)))
    assert not code.ready(set())
    assert [code.piece_of(code.share_of(piece)) for piece in range(k)] == list(range(k))


def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownSchemeError, match="unknown scheme `magic`; known are `coded`, `replication`") as refusal:
        make_code("magic", 4, 2, gain_limit=1000)
    assert refusal.value.exit_status == 2
    assert refusal.value.details["scheme"] == "magic"
