"""The wheels that a device gets, fetched by the host for the device's Python and processor.

Theory of operation: the cache has one folder per target and set of pins. A wheel is moved
there only when it is whole and its hash is right; `index.json` is written last, and is the
only witness for a wheel whose hash the lock file does not know (another ONNX Runtime that
was asked for). Every use hashes every file again, so what is missing or damaged is fetched,
and with a complete set pip is never started. Wheels that a sibling folder has are linked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from cocoi_cli.errors import FailedError
from cocoi_cli.fleet.fetching import WheelFetchError, download
from cocoi_cli.fleet.folders import cache_folder
from cocoi_cli.fleet.locks import locked_async
from cocoi_cli.fleet.pins import distribution_of, fingerprint, read_pins, requirement, with_runtime
from cocoi_cli.fleet.runtimes import check_runtime
from cocoi_cli.model.inputs import reason
from cocoi_cli.shipped import agent_requirements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cocoi_cli.fleet.agent_wheel import Wheel
    from cocoi_cli.fleet.pins import Pin
    from cocoi_cli.fleet.targets import Target

INSTALLER: Final = "pip"
"""Carried, because a device may have none, and run from its wheel; it is not installed."""

_PARTIAL: Final = "partial-"


class MissingWheelsError(FailedError):
    """The cache lacks wheels, and nothing may be fetched."""

    code: ClassVar[str] = "missing-wheels"

    def __init__(self, target: str, missing: tuple[str, ...]) -> None:
        names = ", ".join(f"`{each}`" for each in missing)
        super().__init__(f"not in the cache for {target}: {names}", target=target, missing=list(missing))
        self.missing = missing


class CacheError(FailedError):
    """The cache of wheels cannot be read or written."""

    code: ClassVar[str] = "cache-unusable"

    def __init__(self, folder: str, cause: str) -> None:
        super().__init__(f"cannot use the cache `{folder}`: {cause}", folder=folder, cause=cause)


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A wheel in the cache.

    Attributes:
        path: Where it is.
        name: File name.
        size: In bytes.
        sha256: Hex digest, just checked.
    """

    path: Path
    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Wheelhouse:
    """Every wheel that devices of one kind need beside the agent.

    Attributes:
        target: The kind of device.
        wheels: In the order of the lock file, pip among them.
        requirements: What to install of them, for pip: exact versions, each with the hash of its wheel.
    """

    target: Target
    wheels: tuple[WheelFile, ...]
    requirements: str

    @property
    def size(self) -> int:
        """Bytes of all wheels."""
        return sum(wheel.size for wheel in self.wheels)

    @property
    def installer(self) -> WheelFile:
        """The wheel of pip."""
        return next(wheel for wheel in self.wheels if distribution_of(wheel.name)[0] == INSTALLER)


def requirement_lines(wheelhouse: Wheelhouse, agent: Wheel) -> str:
    """What a device installs: the requirements and the agent, each with the one hash that is right."""
    return wheelhouse.requirements + requirement(*distribution_of(agent.name), [agent.sha256])


async def fetch(
    target: Target,
    *,
    offline: bool = False,
    runtime: str | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Wheelhouse:
    """Bring the cache up to date for a target; two processes that do so at once wait for each other.

    Args:
        target: What the wheels must fit.
        offline: Whether the cache must do.
        runtime: Another version of ONNX Runtime than the locked one.
        on_progress: Told of each wheel before it is fetched.

    Raises:
        BadRuntimeError: If devices must not get that runtime.
        MissingWheelsError: If `offline`, and the cache is not complete.
        WheelFetchError: If a wheel cannot be fetched; those before it stay in the cache.
        CacheError: If the cache cannot be read or written.
    """
    pins = read_pins(agent_requirements().read_text(encoding="utf-8"))
    if runtime is not None:
        pins = with_runtime(pins, check_runtime(runtime))
    folder = cache_folder() / "wheels" / f"{target.name}-{fingerprint(pins)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        async with locked_async(folder / ".lock"):
            wheels = await _complete(folder, target, pins, on_progress, offline=offline)
    except OSError as error:
        raise CacheError(str(folder), reason(error)) from error
    wanted = [(pin, wheels[pin]) for pin in pins if pin.name != INSTALLER]
    lines = "".join(requirement(pin.name, pin.version, [wheel.sha256]) for pin, wheel in wanted)
    return Wheelhouse(target, tuple(wheels[pin] for pin in pins), lines)


async def _complete(
    folder: Path, target: Target, pins: tuple[Pin, ...], on_progress: Callable[[str], None] | None, *, offline: bool
) -> dict[Pin, WheelFile]:
    """The wheel of every pin; called with the folder's lock held."""
    found = await asyncio.to_thread(_tidy, folder, target, pins)
    missing = [pin for pin in pins if pin not in found]
    if missing and offline:
        raise MissingWheelsError(str(target), tuple(map(str, missing)))
    for number, pin in enumerate(missing, 1):
        if on_progress is not None:
            on_progress(f"fetching {pin} for {target} ({number} of {len(missing)})")
        found[pin] = await _fetch_one(folder, target, pin)
    _write_index(folder, target, found.values())
    return found


def _tidy(folder: Path, target: Target, pins: tuple[Pin, ...]) -> dict[Pin, WheelFile]:
    """What the folder has, after taking what its siblings have; what is damaged or half-way there is removed."""
    for partial in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)
    found = _present(folder, pins)
    good = {wheel.path for wheel in found.values()}
    for path in folder.glob("*.whl"):
        if path not in good:
            path.unlink()
    for sibling in sorted(folder.parent.glob(f"{target.name}-*")):
        missing = tuple(pin for pin in pins if pin not in found)
        if missing and sibling != folder:
            found |= {pin: _link(wheel, folder) for pin, wheel in _present(sibling, missing).items()}
    return found


def _present(folder: Path, pins: Iterable[Pin]) -> dict[Pin, WheelFile]:
    """The wheels of a folder that are right, by pin."""
    wanted = {(pin.name, pin.version): pin for pin in pins}
    recorded = _read_index(folder)
    found: dict[Pin, WheelFile] = {}
    for path in sorted(folder.glob("*.whl")):
        pin = wanted.get(distribution_of(path.name))
        if pin is not None:
            wheel = _look(path)
            if wheel.sha256 in (pin.hashes or {recorded.get(path.name)}):
                found[pin] = wheel
    return found


def _look(path: Path) -> WheelFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return WheelFile(path, path.name, path.stat().st_size, digest)


def _link(wheel: WheelFile, folder: Path) -> WheelFile:
    path = folder / wheel.name
    try:
        path.hardlink_to(wheel.path)
    except OSError:  # a file system without links
        with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=folder) as partial:
            shutil.copyfile(wheel.path, Path(partial) / wheel.name).replace(path)
    return WheelFile(path, wheel.name, wheel.size, wheel.sha256)


async def _fetch_one(folder: Path, target: Target, pin: Pin) -> WheelFile:
    with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=folder) as partial:
        path = await download(pin, target, Path(partial))
        wheel = await asyncio.to_thread(_look, path)
        if distribution_of(path.name) != (pin.name, pin.version) or wheel.sha256 not in (pin.hashes or {wheel.sha256}):
            raise WheelFetchError(
                str(pin), str(target), "hash", f"pip brought `{path.name}`, which is another file", ""
            )
        return WheelFile(path.replace(folder / path.name), wheel.name, wheel.size, wheel.sha256)


def _read_index(folder: Path) -> Mapping[str, str]:
    """Hashes by file name; a damaged index knows nothing."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        wheels = json.loads((folder / "index.json").read_text(encoding="utf-8"))["wheels"]
        return {each["name"]: each["sha256"] for each in wheels}
    return {}


def _write_index(folder: Path, target: Target, wheels: Iterable[WheelFile]) -> None:
    entries = [{"name": each.name, "size": each.size, "sha256": each.sha256} for each in wheels]
    text = json.dumps({"target": str(target), "wheels": sorted(entries, key=lambda each: str(each["name"]))}, indent=2)
    index = folder / "index.json"
    with suppress(OSError):
        if index.read_text(encoding="utf-8") == text:
            return
    handle, partial = tempfile.mkstemp(prefix=f".{index.name}.", dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(partial).replace(index)
