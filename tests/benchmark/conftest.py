"""A user without a fleet, a model of a few kilobytes, and fleets that take no time."""

from __future__ import annotations

import pytest

from cocoi_cli.commands import bench
from tests.benchmark.fake_fleet import Shelf
from tests.runtime.small_network import small_network


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path_factory):
    """Fleet file, keys and cache are looked for in a folder of this test."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("COCOI_FLEET", str(home / "fleet.toml"))
    monkeypatch.setenv("COCOI_DATA", str(home / "data"))
    monkeypatch.setenv("COCOI_CACHE", str(home / "cache"))
    return home


@pytest.fixture
def shelf(monkeypatch):
    shelf = Shelf()
    monkeypatch.setattr(bench, "open_embedded", shelf.open)
    monkeypatch.setattr(bench, "open_deployed", shelf.open)
    return shelf


@pytest.fixture
def model(tmp_path):
    """Path of a small classifier."""
    return str(small_network(tmp_path, size=16, channels=4).path)
