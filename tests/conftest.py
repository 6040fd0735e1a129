"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


def shared_folder() -> Path | None:
    """The development data: named by COCOI_SHARED, else beside the checkout."""
    folder = Path(os.environ.get("COCOI_SHARED") or REPOSITORY.parent / "shared")
    return folder if (folder / "data" / "expected.json").is_file() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development data; skips with the reason where it is absent."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("the development data is absent: COCOI_SHARED names no folder with data/expected.json")
    return folder


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the development data, so that it can be selected and counted."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)
