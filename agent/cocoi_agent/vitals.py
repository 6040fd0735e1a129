"""Facts about the device and this process, as far as the platform tells; None where it does not.

Read without privileges: thermal zones, hwmon by its name and cpufreq instead of
`vcgencmd`, whose mailbox a sandboxed unit does not see.
"""

from __future__ import annotations

import os
import platform
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnxruntime

from cocoi_agent.bounds import kilobytes

_SYS: Final = Path("/sys")
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What can be read at one moment; names and units as in `wire.messages.Vitals`."""

    temperature_c: float | None
    throttled: bool | None
    undervolted: bool | None
    load: float | None
    memory_rss: int | None
    memory_available: int | None
    cpu_s: float | None


def read_device(sys: Path = _SYS, proc: Path = _PROC) -> DeviceFacts:
    """Read the facts that change.

    Args:
        sys: Where sysfs is mounted.
        proc: Where procfs is mounted.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return DeviceFacts(
        temperature_c=_temperature(sys),
        throttled=_throttled(sys),
        undervolted=_undervolted(sys),
        load=_load(),
        memory_rss=kilobytes(proc / "self/status", "VmRSS:"),
        memory_available=kilobytes(proc / "meminfo", "MemAvailable:"),
        cpu_s=usage.ru_utime + usage.ru_stime,
    )


def machine_facts(proc: Path = _PROC) -> dict[str, str | int | float]:
    """Read the facts that stay: for `Welcome.machine`."""
    facts: dict[str, str | int | float] = {
        "cores": _cores(),
        "arch": platform.machine(),
        "system": platform.system(),
        "release": platform.release(),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
    }
    memory = memory_bytes(proc)
    if memory is not None:
        facts["memory_bytes"] = memory
    model = _text(proc / "device-tree/model")
    if model:
        facts["model"] = model.rstrip("\0")[:200]
    return facts


def memory_bytes(proc: Path = _PROC) -> int | None:
    """Memory of the machine; None where it is not known."""
    return kilobytes(proc / "meminfo", "MemTotal:") or _sysconf_memory()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _temperature(sys: Path) -> float | None:
    value = _integer(sys / "class/thermal/thermal_zone0/temp")
    return None if value is None else value / 1000.0


def _throttled(sys: Path) -> bool | None:
    """Whether the firmware or kernel caps the clock below what the processor can do."""
    cpufreq = sys / "devices/system/cpu/cpu0/cpufreq"
    now, top = _integer(cpufreq / "scaling_max_freq"), _integer(cpufreq / "cpuinfo_max_freq")
    return None if now is None or top is None else now < top


def _undervolted(sys: Path) -> bool | None:
    """The alarm of the Raspberry Pi's voltage sensor, found by name: indices change between boots."""
    try:
        sensors = sorted((sys / "class/hwmon").iterdir())
    except OSError:
        return None
    for sensor in sensors:
        if (_text(sensor / "name") or "").strip() == "rpi_volt":
            alarm = _integer(sensor / "in0_lcrit_alarm")
            return None if alarm is None else bool(alarm)
    return None


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _sysconf_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _integer(path: Path) -> int | None:
    text = (_text(path) or "").strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return None
