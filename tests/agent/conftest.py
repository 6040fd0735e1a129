"""Real processes for the tests of the agent."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.processes import WAIT_S, Manager, Start


@pytest.fixture
def start(repository: Path) -> Iterator[Start]:
    """Start processes that are killed and reaped at the end."""
    started: list[subprocess.Popen] = []

    def run(command: list[str], **more: Any) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(repository / "agent"), **more.pop("environment", {})}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, **more
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait(WAIT_S)
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Stands in for the service manager."""
    with Manager(tmp_path / "notify") as made:
        yield made
