"""Where the files that come with cocoi are.

A wheel carries them in `cocoi_cli/data`. In an editable install and in a bare checkout
they are only at their own place in the repository, where the wheel takes them from.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def shipped_model() -> Path:
    """The model that `cocoi infer` uses when none is named, an ONNX file."""
    return _find("models/roadsigns.onnx")


def shipped_samples() -> Path:
    """The folder of sample pictures for the shipped model."""
    return _find("models/samples")


def unit_file(install: str = "system") -> Path:
    """The systemd unit of the agent, as a `system` service or as a `user` service."""
    return _find("systemd/cocoi-agent.service" if install == "system" else "systemd/cocoi-agent-user.service")


def agent_requirements() -> Path:
    """The locked wheels that a device gets beside the agent: exact versions with their hashes."""
    return _find("requirements/agent.txt")


def _find(name: str) -> Path:
    """The packaged file, else the one in the checkout.

    Raises:
        FileNotFoundError: If neither is there: the installation is damaged.
    """
    for folder in (PACKAGE / "data", PACKAGE.parent):
        if (folder / name).exists():
            return folder / name
    message = f"`{name}` is neither in {PACKAGE / 'data'} nor in {PACKAGE.parent}"
    raise FileNotFoundError(message)
