"""Neither host nor agent leaves anything in the home folder: ONNX Runtime's telemetry would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOADS = {
    "host": "import numpy, onnx, cocoi_cli.api, cocoi_cli.runtime.rehearsals",
    "agent": "from cocoi_agent.quiet import load_runtime; load_runtime(silent=True); import cocoi_agent.daemon",
}


@pytest.mark.parametrize("who", LOADS)
def test_loading_it_leaves_the_home_folder_empty(who: str, tmp_path: Path, repository: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": f"{repository}:{repository}/agent"}
    environment.pop("XDG_CACHE_HOME", None)
    subprocess.run([sys.executable, "-B", "-c", LOADS[who]], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
