"""The system on a device: release, userland, Python interpreters, systemd, and what cocoi installed."""

from __future__ import annotations

import json
import os
import re
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cocoi_cli.fleet.ondevice.reading import Root

PYTHON_FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/python/bin")
ASK = (
    "import importlib.util as u,json,struct,sys;"
    "h=lambda n:u.find_spec(n) is not None;"
    "print(json.dumps([list(sys.version_info[:3]),struct.calcsize('P')*8,h('venv'),h('ensurepip'),h('_ssl')]))"
)
SYSTEM_BASE = "/opt/cocoi"
USER_BASE = ".local/share/cocoi-agent"
UNIT = "cocoi-agent.service"
TRIAL = "cocoi-agent-test.service"
RUNTIME_UNITS = "/run/systemd/system"
USER_UNITS = "/run/user/%d/systemd/user"


def system(root: Root) -> dict[str, Any]:
    """Release, kernel, userland architecture and C library."""
    release = _release(root)
    kernel = os.uname()
    return {
        "os": {key.lower(): release.get(key) for key in ("ID", "VERSION_ID", "VERSION_CODENAME", "PRETTY_NAME")},
        "kernel": root.text("/proc/sys/kernel/osrelease") or kernel.release,
        # The kernel's word: a 32-bit system on a Pi 4 says aarch64 here, so it decides nothing.
        "machine": kernel.machine,
        "userland": root.tool("dpkg", "--print-architecture"),
        "pointer_bits": struct.calcsize("P") * 8,
        "libc": _libc(),
    }


def interpreters(root: Root) -> list[dict[str, Any]]:
    """Every Python 3 that is found, newest first: path, version, pointer size, and the modules that matter."""
    seen: dict[str, dict[str, Any]] = {}
    for folder in PYTHON_FOLDERS:
        for name in root.names(folder):
            if re.match(r"python3(\.\d+)?$", name) is None:
                continue
            path = f"{folder}/{name}"
            real = os.path.realpath(str(root.path(path)))
            if real not in seen:
                answer = root.run(str(root.path(path)), "-I", "-c", ASK)
                seen[real] = _interpreter(path, answer)
            # `python3` outlives a minor upgrade; the numbered name is what was asked for.
            elif len(path) > len(seen[real]["path"]):
                seen[real]["path"] = path
    return sorted(seen.values(), key=lambda each: each["version"], reverse=True)


def _interpreter(path: str, answer: str | None) -> dict[str, Any]:
    try:
        version, bits, venv, ensurepip, ssl = json.loads(answer or "")
    except ValueError:
        version, bits, venv, ensurepip, ssl = [], None, None, None, None
    return {"path": path, "version": version, "bits": bits, "venv": venv, "ensurepip": ensurepip, "ssl": ssl}


def services(root: Root, user: str, home: str, machine_id: str | None) -> dict[str, Any]:
    """Systemd: whether it runs the machine, its version, linger, and whether the journal outlives a boot."""
    words = (root.tool("systemctl", "--version") or "").split()
    return {
        "running": root.exists(RUNTIME_UNITS),
        "version": int(words[1]) if len(words) > 1 and words[1].isdigit() else None,
        "linger": root.exists("/var/lib/systemd/linger/" + user),
        "journal_kept": bool(machine_id) and root.exists(f"/var/log/journal/{machine_id}"),
        # Left behind where a deploy died in its test of a new version.
        "test_units": [path for path in (RUNTIME_UNITS, USER_UNITS % os.getuid()) if root.exists(f"{path}/{TRIAL}")],
        "system_unit": _unit(root),
        "user_unit": _unit(root, "--user") if root.exists(f"{home}/.config/systemd/user/{UNIT}") else None,
    }


def installed(root: Root, home: str) -> dict[str, Any]:
    """What `cocoi deploy` left here, by kind of install; None where nothing is."""
    return {"system": _install(root, SYSTEM_BASE), "user": _install(root, f"{home}/{USER_BASE}")}


def _install(root: Root, base: str) -> dict[str, Any] | None:
    current = root.link(base + "/current")
    if current is None:
        return None
    packages = _packages(root, base + "/current")
    return {
        "current": current.rpartition("/")[2],
        "previous": (root.link(base + "/previous") or "").rpartition("/")[2] or None,
        "python": base + "/current/bin/python",
        "agent": packages.get("cocoi_agent"),
        "onnxruntime": packages.get("onnxruntime"),
    }


def _packages(root: Root, environment: str) -> dict[str, str]:
    """Versions of the distributions in a virtual environment, by the names of their folders."""
    found: dict[str, str] = {}
    for python in root.names(environment + "/lib"):
        for name in root.names(f"{environment}/lib/{python}/site-packages"):
            match = re.match(r"([A-Za-z0-9_.]+)-(.+)\.dist-info$", name)
            if match is not None:
                found[match.group(1).lower()] = match.group(2)
    return found


def _unit(root: Root, *scope: str) -> dict[str, Any] | None:
    properties = "LoadState,ActiveState,SubState,Result,NRestarts"
    said = root.tool("systemctl", *scope, "show", UNIT, "--property", properties)
    found = dict(line.split("=", 1) for line in (said or "").splitlines() if "=" in line)
    if found.get("LoadState") != "loaded":
        return None
    restarts = found.get("NRestarts", "")
    return {
        "active": found.get("ActiveState"),
        "sub": found.get("SubState"),
        "result": found.get("Result"),
        "restarts": int(restarts) if restarts.isdigit() else None,
    }


def _release(root: Root) -> dict[str, str]:
    lines = (root.text("/etc/os-release") or "").splitlines()
    return {key: value.strip("\"'") for key, value in (line.split("=", 1) for line in lines if "=" in line)}


def _libc() -> list[int] | None:
    """Version of the GNU C library; None for another one, which no wheel of ONNX Runtime fits."""
    try:
        match = re.match(r"glibc (\d+)\.(\d+)", os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (ValueError, OSError):
        return None
    return None if match is None else [int(match.group(1)), int(match.group(2))]
