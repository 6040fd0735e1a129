from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cocoi_cli.codes import families
from cocoi_cli.codes.code import Traits
from cocoi_cli.codes.errors import BadCodeError, UnknownSchemeError
from cocoi_cli.codes.registry import default_pieces, make_code, schemes, traits


def test_every_file_of_the_families_folder_is_a_scheme() -> None:
    files = {path.stem for folder in families.__path__ for path in Path(folder).glob("[!_]*.py")}
    assert len(files) == len(schemes())
    assert set(schemes()) == {"cocoi", "coded", "fcdcc", "hedged", "lt", "replication", "uncoded"}


@pytest.mark.parametrize("scheme", schemes())
@pytest.mark.parametrize("agents", [1, 2, 4, 6, 10])
def test_every_scheme_makes_the_code_it_suggests(scheme: str, agents: int) -> None:
    k = default_pieces(scheme, agents)
    code = make_code(scheme, agents, k, gain_limit=1000)
    assert (code.name, code.needed, code.filters) == (scheme, k, 1)
    assert code.shares == (None if scheme == "lt" else agents)
    assert not code.ready(set())
    assert code.deficit(set()) == k
    assert code.ready(set(range(k, 20 * k)) if code.shares is None else set(range(agents)))
    assert code.ready(set(code.completing(set())))
    weight = np.ones((4, 2, 3, 3), np.float32)
    assert code.encode_filters(weight, k) is weight


@pytest.mark.parametrize("scheme", schemes())
def test_only_a_code_that_mixes_output_channels_takes_groups_of_them(scheme: str) -> None:
    k = default_pieces(scheme, 6)
    if scheme == "fcdcc":
        assert make_code(scheme, 6, k, gain_limit=1000, filters=4).filters == 4
        return
    with pytest.raises(BadCodeError, match="does not mix output channels"):
        make_code(scheme, 6, k, gain_limit=1000, filters=2)


def test_traits_are_what_the_families_say_or_the_usual() -> None:
    assert traits("coded") == Traits()
    assert traits("cocoi") == Traits(axis="width", strips=1, transport="f32", eager=True)
    assert (traits("lt").strips, traits("fcdcc").strips, traits("fcdcc").eager) == (1, 1, True)
    with pytest.raises(UnknownSchemeError):
        traits("magic")


def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        UnknownSchemeError, match="unknown scheme `magic`; known are `cocoi`, `coded`, `fcdcc`, `hedged`"
    ) as refusal:
        make_code("magic", 4, 2, gain_limit=1000)
    assert refusal.value.exit_status == 2
    assert refusal.value.details["scheme"] == "magic"
