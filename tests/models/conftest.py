"""Loads the scripts under models/, which are no import package."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(scope="session")
def script(repository: Path) -> Callable[[str], ModuleType]:
    """Load `models/NAME.py` by its path; the scripts beside it can be imported by their bare names while it loads."""
    folder = repository / "models"

    def load(name: str) -> ModuleType:
        bare = f"cocoi_models_{name}"  # `build` and `signs` alone could be anybody's
        if bare in sys.modules:
            return sys.modules[bare]
        spec = importlib.util.spec_from_file_location(bare, folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[bare] = module
        sys.path.insert(0, str(folder))
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(folder))
        return module

    return load
