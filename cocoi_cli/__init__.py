"""Coded CNN inference on a shelf of Raspberry Pis: slow or dead devices cost nothing.

The names below are the public Python interface; each is imported when first used,
so that `cocoi --help` need not wait for ONNX Runtime.
"""

from __future__ import annotations

from importlib import import_module

from cocoi_agent import __version__

_HOMES = {
    "Fleet": "cocoi_cli.api",
    "Options": "cocoi_cli.runtime.options",
    "Progress": "cocoi_cli.runtime.options",
    "CocoiError": "cocoi_cli.errors",
    "InferenceReport": "cocoi_cli.runtime.report",
    "load_model": "cocoi_cli.model.load",
}

__all__ = [
    "CocoiError",
    "Fleet",
    "InferenceReport",
    "Options",
    "Progress",
    "__version__",
    "load_model",
]


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module `cocoi_cli` has no attribute `{name}`")
    return getattr(import_module(_HOMES[name]), name)
