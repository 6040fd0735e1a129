"""The board: model, processor, memory, and how it is doing now (heat, voltage, clock speed)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cocoi_cli.fleet.ondevice.reading import Root

CPU = "/sys/devices/system/cpu"

# Bits of `vcgencmd get_throttled`: 0 to 3 tell of now, the same 16 higher of any time since boot.
FLAGS = ("under-voltage", "frequency-capped", "throttled", "soft-temperature-limit")
SINCE_BOOT = 16


def board(root: Root) -> dict[str, Any]:
    """What does not change: model, cores, processor and memory in bytes."""
    cpuinfo = root.text("/proc/cpuinfo") or ""
    fields = _fields(cpuinfo)
    features = (fields.get("Features") or fields.get("flags") or "").split()
    memory = _fields(root.text("/proc/meminfo") or "")
    return {
        "model": root.text("/proc/device-tree/model") or fields.get("Model"),
        "cores": _cores(root, cpuinfo),
        "cpu": {
            "part": fields.get("CPU part"),
            "name": fields.get("model name"),
            "aes": "aes" in features if features else None,
        },
        "memory": {
            "total": _bytes(memory.get("MemTotal")),
            "available": _bytes(memory.get("MemAvailable")),
            "swap": _bytes(memory.get("SwapTotal")),
        },
        "memory_cgroup": memory_cgroup(root),
    }


def memory_cgroup(root: Root) -> bool | None:
    """Whether the kernel can bound memory: Raspberry Pi kernels come with the controller off."""
    controllers = root.text("/sys/fs/cgroup/cgroup.controllers")
    if controllers and "memory" in controllers.split():
        return True
    for line in (root.text("/proc/cgroups") or "").splitlines():
        words = line.split()
        if len(words) == 4 and words[0] == "memory":
            # The old and the new hierarchy read one switch; here it stands even when neither shows it.
            return words[3] == "1"
    return None if controllers is None else False


def condition(root: Root) -> dict[str, Any]:
    """What changes: temperature, throttling, governor, clock speeds in hertz."""
    frequency = CPU + "/cpu0/cpufreq"
    return {
        "temperature_c": _temperature(root),
        "throttle": throttle(root),
        "governor": root.text(frequency + "/scaling_governor"),
        "governors": (root.text(frequency + "/scaling_available_governors") or "").split(),
        "frequency_hz": _hertz(root.number(frequency + "/scaling_cur_freq")),
        "max_frequency_hz": _hertz(root.number(frequency + "/cpuinfo_max_freq")),
        "load": _load(root),
    }


def throttle(root: Root) -> dict[str, Any]:
    """Flags that hold now, and those since boot (None where only the firmware knows and is not asked)."""
    said = root.tool("vcgencmd", "get_throttled") or ""
    word = said.partition("=")[2]
    if said.startswith("throttled=0x"):
        try:
            bits = int(word, 16)
        except ValueError:
            bits = None
        if bits is not None:
            return {"source": "vcgencmd", "now": _flags(bits), "since_boot": _flags(bits >> SINCE_BOOT)}
    return _throttle_by_kernel(root)


def _throttle_by_kernel(root: Root) -> dict[str, Any]:
    """The voltage sensor's alarm, found by name since its number changes, and the cap on the clock."""
    now, known = [], False
    for sensor in root.names("/sys/class/hwmon"):
        if root.text(f"/sys/class/hwmon/{sensor}/name") == "rpi_volt":
            alarm = root.number(f"/sys/class/hwmon/{sensor}/in0_lcrit_alarm")
            known = known or alarm is not None
            if alarm:
                now.append("under-voltage")
    cap = root.number(CPU + "/cpu0/cpufreq/scaling_max_freq")
    top = root.number(CPU + "/cpu0/cpufreq/cpuinfo_max_freq")
    if cap is not None and top is not None:
        known = True
        if cap < top:
            now.append("frequency-capped")
    return {"source": "kernel" if known else None, "now": now, "since_boot": None}


def _temperature(root: Root) -> float | None:
    thousandths = root.number("/sys/class/thermal/thermal_zone0/temp")
    if thousandths is not None:
        return thousandths / 1000.0
    said = root.tool("vcgencmd", "measure_temp") or ""  # `temp=48.2'C`
    try:
        return float(said.partition("=")[2].partition("'")[0])
    except ValueError:
        return None


def _flags(bits: int) -> list[str]:
    return [flag for number, flag in enumerate(FLAGS) if bits >> number & 1]


def _fields(text: str) -> dict[str, str]:
    """`key: value` lines; of keys that come once per core, the first."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def _cores(root: Root, cpuinfo: str) -> int | None:
    if not root.prefix and hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return sum(line.startswith("processor") for line in cpuinfo.splitlines()) or None


def _bytes(text: str | None) -> int | None:
    words = (text or "").split()
    return int(words[0]) * 1024 if words and words[0].isdigit() else None


def _hertz(kilohertz: int | None) -> int | None:
    return None if kilohertz is None else kilohertz * 1000


def _load(root: Root) -> float | None:
    words = (root.text("/proc/loadavg") or "").split()
    try:
        return float(words[0])
    except (IndexError, ValueError):
        return None
