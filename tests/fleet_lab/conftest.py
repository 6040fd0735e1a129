"""The emulated fleet, started once for all tests of this folder."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from platformdirs import user_cache_path

from tests.fleet_lab.fleet import Fleet
from tests.fleet_lab.host import Host
from tests.fleet_lab.lab import FLEET, SPARE, Lab, why_not
from tests.fleet_lab.listing import Listing, difference

# One fleet serves all: it is built by the first, used by the next, and taken off by the last ones.
ORDER = (
    *("emulation", "first_time", "trust", "power", "operations", "crashes", "removal"),
    *("bad_access", "bad_devices", "bad_files"),
)

FIGURES = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here, and put it into the order in which the fleet is used."""
    here = Path(__file__).parent
    ours = [item for item in items if here in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.lab)
        item.add_marker(pytest.mark.slow)
    places = [index for index, item in enumerate(items) if here in item.path.parents]
    for index, item in zip(places, sorted(ours, key=_rank), strict=True):
        items[index] = item


def _rank(item: pytest.Item) -> int:
    name = item.path.stem.removeprefix("test_")
    return ORDER.index(name) if name in ORDER else -1


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Print what was measured: reported, never judged."""
    if lines := config.stash.get(FIGURES, []):
        terminalreporter.section("measured on emulated devices")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figure(request: pytest.FixtureRequest):
    """Call it with a line to be printed at the end."""
    return request.config.stash.setdefault(FIGURES, []).append


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, figure) -> Iterator[Lab]:
    """Devices that run, bare when the session begins, gone when it ends, however it ends."""
    if reason := why_not():
        if os.environ.get("COCOI_LAB_NEEDED"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    cache = Path(os.environ.get("COCOI_LAB_CACHE") or user_cache_path("cocoi") / "lab")
    cache.mkdir(parents=True, exist_ok=True)
    made = Lab(tmp_path_factory.mktemp("lab"), cache)
    before = signal.signal(signal.SIGTERM, _end)
    with (cache / "in-use").open("w") as lock:
        _lock(lock)
        try:
            figure(made.up())
            figure(made.fetch_wheels())
            yield made
        finally:
            made.down()
            signal.signal(signal.SIGTERM, before)


def _lock(file: TextIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pytest.fail("another run uses the emulated devices", pytrace=False)


def _end(*_: object) -> None:
    raise KeyboardInterrupt  # so that pytest closes its fixtures


@pytest.fixture(scope="module")
def fleet(lab: Lab, host: Host) -> Fleet:
    """A fleet that serves; most often it does already, and this takes seconds."""
    made = Fleet(lab, host)
    made.add(*FLEET)
    made.deploy()
    return made


@pytest.fixture(scope="session")
def host(lab: Lab) -> Iterator[Host]:
    """Whoever operates the fleet in most tests."""
    made = lab.host("home")
    yield made
    made.close()


@pytest.fixture(scope="module")
def single(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A fleet of the spare device alone, with a new disk and a host of its own; added, and nothing installed."""
    lab.fresh(SPARE)
    owner = lab.host(request.path.stem)
    made = Fleet(lab, owner)
    made.add(SPARE)
    yield made
    owner.close()


@pytest.fixture
def untouched(single: Fleet) -> Iterator[Listing]:
    """The spare device's disk, compared again after the test."""
    before = single.lab.listing(SPARE)
    yield before
    assert difference(before, single.lab.listing(SPARE)) == []
