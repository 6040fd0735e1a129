"""The rig that most of these tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.rig.place import Place, why_not


@pytest.fixture(scope="session")
def may_make_rigs() -> None:
    """Skips where no rig can be made; fails where rigs were asked for by name."""
    if reason := why_not():
        if os.environ.get("COCOI_LAB_NEEDED"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def made(may_make_rigs: None) -> Iterator[Place]:
    """Three devices: a slow one, one without a delay of its link, and a fast one."""
    del may_make_rigs
    place = Place("rigtest")
    place.rig("down")
    place.up("--nodes", "3", "--cpu", "9", "--node", "2:delay=0", "--node", "3:cpu=27")
    yield place
    place.rig("down")
    assert place.left == []


@pytest.fixture
def place(made: Place) -> Iterator[Place]:
    """The same, well again afterwards."""
    yield made
    made.faults("clear")
    assert [row["faults"] for row in made.status()["devices"]] == ["", "", ""]


@pytest.fixture
def other(may_make_rigs: None) -> Iterator[Place]:
    """The place of a second rig, of which nothing is left afterwards."""
    del may_make_rigs
    place = Place("rigother")
    place.rig("down")
    yield place
    place.rig("down")
    assert place.left == []
