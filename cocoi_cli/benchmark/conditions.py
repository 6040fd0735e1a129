"""The machine that a benchmark runs on: what a reader needs to judge its figures."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("cocoi", "numpy", "onnxruntime", "onnx", "msgpack")
_CLOCK: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq")  # Linux, where the processor has a governor


def conditions_now() -> dict[str, Any]:
    """Facts as JSON has them; None where the system does not tell."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "clock_mhz": clock_mhz(),
        "load": load(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": _packages(),
    }


def load() -> float | None:
    """Processes that wanted to run during the last minute."""
    with suppress(OSError, AttributeError):
        return round(os.getloadavg()[0], 2)
    return None


def clock_mhz() -> float | None:
    """The present clock of the first processor."""
    with suppress(OSError, ValueError):
        return int((_CLOCK / "scaling_cur_freq").read_text()) / 1000
    found = re.search(r"^cpu MHz\s*:\s*([\d.]+)", _cpuinfo(), re.MULTILINE)
    return float(found[1]) if found else None


def process_cpu_s(process: int) -> float | None:
    """Processor seconds that a process of this machine has used; None where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return None


def _processor() -> str:
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _cpuinfo() -> str:
    with suppress(OSError):
        return Path("/proc/cpuinfo").read_text("utf-8", "replace")
    return ""


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
