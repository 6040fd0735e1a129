"""From what a device tells in JSON to the records of `facts`. Pure.

A device tells what it can: whatever is absent, or of another kind than expected, becomes
None or empty, and so do numbers out of all proportion. Texts are of one line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from cocoi_cli.fleet.facts import DeviceFacts, Disk, Installed, Interface, Interpreter, Listener, Unit
from cocoi_cli.planning.profile import Condition
from cocoi_cli.visible import one_line

if TYPE_CHECKING:
    from cocoi_cli.fleet.records import Install

Tree = dict[str, Any]
T = TypeVar("T")

HELPERS: Final = ("reading", "hardware", "network", "software")
"""Modules that `ondevice.facts` needs sent along."""

# What `dpkg` calls a userland, and what wheels do.
_ARCHITECTURES: Final = {"arm64": "aarch64", "amd64": "x86_64"}
_LARGEST: Final = 1 << 63  # no quantity of a device is as large, and no calculation with it fails
_LARGEST_PART: Final = 10_000  # of a version
_PROCESSORS: Final = {"0xd03": "Cortex-A53", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76"}


def device_facts(tree: Tree, *, asked: float, answered: float) -> DeviceFacts:
    """Make the record of a script's result.

    Args:
        tree: The result of `ondevice.facts`.
        asked: The host's wall clock when the script was sent.
        answered: The same when its result had come.
    """
    offset, uncertainty = clock(tree, asked=asked, answered=answered)
    hardware, system, services = (_tree(tree, key) for key in ("hardware", "system", "services"))
    memory, cpu = _tree(hardware, "memory"), _tree(hardware, "cpu")
    bits = _get(system, "pointer_bits", int)
    return DeviceFacts(
        hostname=_get(tree, "hostname", str),
        machine_id=_get(tree, "machine_id", str),
        boot_id=_get(tree, "boot_id", str),
        user=_get(tree, "user", str),
        home=_get(tree, "home", str),
        ssh_address=_get(tree, "ssh_address", str),
        model=_get(hardware, "model", str),
        cores=_get(hardware, "cores", int),
        processor=_processor(cpu),
        aes=_get(cpu, "aes", bool),
        memory_total=_get(memory, "total", int),
        memory_available=_get(memory, "available", int),
        swap=_get(memory, "swap", int),
        memory_cgroup=_get(hardware, "memory_cgroup", bool),
        condition=condition(_tree(tree, "condition"), "before"),
        governors=_texts(_tree(tree, "condition"), "governors"),
        os=_get(_tree(system, "os"), "pretty_name", str),
        kernel=_get(system, "kernel", str),
        architecture=_architecture(system, bits),
        bits=bits,
        libc=_libc(system),
        interpreters=tuple(map(_interpreter, _trees(tree, "interpreters"))),
        systemd_running=_get(services, "running", bool),
        systemd=_get(services, "version", int),
        linger=_get(services, "linger", bool),
        journal_kept=_get(services, "journal_kept", bool),
        test_units=_texts(services, "test_units"),
        installed=_installed(_tree(tree, "installed"), services),
        disks=tuple(map(_disk, _trees(tree, "disks"))),
        interfaces=tuple(map(_interface, _trees(tree, "interfaces"))),
        listener=_listener(tree),
        clock_offset_s=offset,
        clock_uncertainty_s=uncertainty,
        synchronised=_get(_tree(tree, "clock"), "synchronised", bool),
    )


def condition(tree: Tree, when: Literal["before", "during", "after"]) -> Condition:
    """Make the record of how a device was doing."""
    throttle = _tree(tree, "throttle")
    return Condition(
        when=when,
        temperature_c=_get(tree, "temperature_c", float),
        throttled=_texts(throttle, "now"),
        since_boot=_texts(throttle, "since_boot") if isinstance(throttle.get("since_boot"), list) else None,
        governor=_get(tree, "governor", str),
        frequency_hz=_get(tree, "frequency_hz", int),
    )


def clock(tree: Tree, *, asked: float, answered: float) -> tuple[float, float]:
    """The device's clock minus the host's, and how far off that may be, in seconds.

    The device read its clock after it was asked, and worked for `seconds` more before it answered.
    """
    told = _tree(tree, "clock")
    latest = max(answered - (_get(told, "seconds", float) or 0.0), asked)
    there = _get(told, "time", float)
    if there is None:
        return 0.0, float("inf")
    return there - (asked + latest) / 2, (latest - asked) / 2


def _processor(cpu: Tree) -> str | None:
    part = _get(cpu, "part", str)
    return _PROCESSORS.get(part, part) if part else _get(cpu, "name", str)


def _architecture(system: Tree, bits: int | None) -> str | None:
    userland, machine = _get(system, "userland", str), _get(system, "machine", str)
    if userland:
        return _ARCHITECTURES.get(userland, userland)
    # Without dpkg the kernel's word counts, unless the interpreter is smaller than it.
    return "armhf" if bits == 32 and machine == "aarch64" else machine


def _libc(system: Tree) -> tuple[int, int] | None:
    match system.get("libc"):
        case [int(major), int(minor)] if 0 <= major < _LARGEST_PART and 0 <= minor < _LARGEST_PART:
            return major, minor
        case _:
            return None


def _interpreter(tree: Tree) -> Interpreter:
    told = tree.get("version")
    numbers = told if isinstance(told, list) else []
    version = tuple(number for number in numbers if isinstance(number, int) and 0 <= number < _LARGEST_PART)
    venv, ssl = _get(tree, "venv", bool), _get(tree, "ssl", bool)
    # Without two numbers nobody knows which it is.
    known = version if len(version) == len(numbers) > 1 else ()
    return Interpreter(_get(tree, "path", str) or "python3", known, _get(tree, "bits", int), venv, ssl)


def _installed(tree: Tree, services: Tree) -> tuple[Installed, ...]:
    modes: tuple[Install, ...] = ("system", "user")
    return tuple(_install(mode, tree[mode], services) for mode in modes if isinstance(tree.get(mode), dict))


def _install(mode: Install, tree: Tree, services: Tree) -> Installed:
    unit = services.get(f"{mode}_unit")
    return Installed(
        mode=mode,
        current=_get(tree, "current", str) or "",
        previous=_get(tree, "previous", str),
        python=_get(tree, "python", str) or "",
        agent=_get(tree, "agent", str),
        onnxruntime=_get(tree, "onnxruntime", str),
        unit=_unit(unit) if isinstance(unit, dict) else None,
    )


def _unit(tree: Tree) -> Unit:
    return Unit(_get(tree, "active", str), _get(tree, "result", str), _get(tree, "restarts", int))


def _disk(tree: Tree) -> Disk:
    return Disk(
        path=_get(tree, "path", str) or "",
        free=_get(tree, "free", int) or 0,
        total=_get(tree, "total", int) or 0,
        filesystem=_get(tree, "filesystem", str),
        read_only=_get(tree, "read_only", bool) or False,
    )


def _interface(tree: Tree) -> Interface:
    return Interface(
        name=_get(tree, "name", str) or "",
        kind=_get(tree, "kind", str) or "virtual",
        addresses=_texts(tree, "addresses"),
        up=_get(tree, "up", bool) or False,
        speed_mbit=_get(tree, "speed_mbit", int),
        power_save=_get(tree, "power_save", bool),
    )


def _listener(tree: Tree) -> Listener | None:
    found = tree.get("listener")
    return Listener(one_line(str(found.get("user"))), _get(found, "process", str)) if isinstance(found, dict) else None


def _tree(tree: Tree, key: str) -> Tree:
    found = tree.get(key)
    return found if isinstance(found, dict) else {}


def _trees(tree: Tree, key: str) -> list[Tree]:
    found = tree.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _texts(tree: Tree, key: str) -> tuple[str, ...]:
    found = tree.get(key)
    return tuple(one_line(each) for each in found if isinstance(each, str)) if isinstance(found, list) else ()


def _get(tree: Tree, key: str, kind: type[T]) -> T | None:
    value = tree.get(key)
    if isinstance(value, str):
        value = one_line(value)
    if isinstance(value, int | float) and not abs(value) < _LARGEST:  # nor what is no number at all
        return None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is int and isinstance(value, bool):
        return None
    return value if isinstance(value, kind) else None
