"""Loads the scripts under bench/, which are no import package."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(scope="session")
def script(repository: Path) -> Callable[[str], ModuleType]:
    """Import `bench/NAME.py` by its bare name, as the scripts import each other."""
    folder = repository / "bench"

    def load(name: str) -> ModuleType:
        sys.path.insert(0, str(folder))
        try:
            module = importlib.import_module(name)
        finally:
            sys.path.remove(str(folder))
        assert module.__file__ == str(folder / f"{name}.py")
        return module

    return load
