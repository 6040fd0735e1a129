"""The fleet file: where it is, what it says, and what is wrong with it, by line.

`cocoi_cli.fleet.editing` changes it.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, get_args

from cocoi_cli.errors import ConfigurationError, UsageError
from cocoi_cli.fleet.folders import fleet_file
from cocoi_cli.fleet.names import NAME, NAME_RULE, BadTargetError, address_fault, parse_target
from cocoi_cli.fleet.records import DEFAULT_PORT, Device, Install, Inventory, Security
from cocoi_cli.fleet.toml_text import line_numbers
from cocoi_cli.model.inputs import in_sentence, reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from cocoi_cli.fleet.toml_text import Keys

FLEET_KEYS: Final = ("id", "security", "devices")
DEVICE_KEYS: Final = ("ssh", "address", "port", "machine_id", "host_key", "install", "drained")

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")  # it names a folder
_MACHINE_ID: Final = re.compile(r"[0-9a-f]{32}")
_HOST_KEY: Final = re.compile(r"SHA256:[A-Za-z0-9+/]+")
_LARGEST: Final = 1 << 20  # a fleet file of a thousand devices has a fifth of this


class NoFleetError(ConfigurationError):
    """There is no fleet file yet, or not where it is said to be."""

    code: ClassVar[str] = "no-fleet"

    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no fleet file `{path}`", path=str(path))


class BadFleetFileError(ConfigurationError):
    """The fleet file says something that cannot be; `line` is where, from 1, or 0 for the file as a whole."""

    code: ClassVar[str] = "bad-fleet-file"

    def __init__(self, path: Path, line: int, cause: str) -> None:
        where = f"{path}:{line}" if line else f"{path}"
        super().__init__(f"`{where}`: {cause}", path=str(path), line=line, cause=cause)


class DuplicateDeviceError(ConfigurationError):
    """Two entries mean one device; `what` they share, and the name and line of the one that was there first."""

    code: ClassVar[str] = "duplicate-device"

    def __init__(self, path: Path, line: int, name: str, what: str, other: str, other_line: int) -> None:
        where = f"`{path}:{line}`: " if line else ""
        super().__init__(
            f"{where}`{name}` has the same {what} as `{other}` (line {other_line})",
            path=str(path),
            line=line,
            device=name,
            what=what,
            other=other,
            other_line=other_line,
        )


class NoDevicesError(ConfigurationError):
    """The fleet file is in order and names no device."""

    code: ClassVar[str] = "no-devices"

    def __init__(self, path: Path) -> None:
        super().__init__(f"fleet file `{path}` names no device", path=str(path))


class UnknownDeviceError(UsageError):
    """No device of the fleet has this name; `closest` are the most similar ones."""

    code: ClassVar[str] = "unknown-device"

    def __init__(self, path: Path, name: str, known: Collection[str]) -> None:
        closest = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
        listed = f" (closest: {', '.join(f'`{each}`' for each in closest)})" if closest else ""
        super().__init__(
            f"fleet file `{path}` has no device `{name}`{listed}", path=str(path), device=name, closest=closest
        )


def locate(option: str | None) -> Path:
    """The fleet file that `--fleet` names, else `$COCOI_FLEET`, else the user's own; it need not exist."""
    return Path(option).expanduser() if option else fleet_file()


def exists(option: str | None) -> bool:
    """Whether there is a fleet file where `locate` looks."""
    return locate(option).exists()


def load(path: Path) -> Inventory:
    """Read the fleet file.

    Raises:
        NoFleetError: If it does not exist.
        BadFleetFileError: At the first thing in it that cannot be.
        DuplicateDeviceError: If two entries mean one device.
    """
    return read(read_text(path), path)


def read_text(path: Path) -> str:
    """The text of the fleet file.

    Raises:
        NoFleetError: If it does not exist.
        BadFleetFileError: If it cannot be read, is larger than any fleet file, or is no UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise NoFleetError(path) from None
    except OSError as error:
        raise BadFleetFileError(path, 0, reason(error)) from error
    if len(data) > _LARGEST:
        raise BadFleetFileError(path, 0, f"it has more than {_LARGEST} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadFleetFileError(path, line, f"byte 0x{data[error.start]:02x} is no UTF-8") from None


def read(text: str, path: Path) -> Inventory:
    """What the text of a fleet file says; `path` is for messages and the record.

    Raises:
        BadFleetFileError, DuplicateDeviceError: As `load`.
    """
    try:
        tree = tomllib.loads(text)
        lines = line_numbers(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(text, path, str(error)) from None
    except ValueError:
        raise BadFleetFileError(path, 0, "a number in it is too long") from None
    except RecursionError:
        raise BadFleetFileError(path, 0, "it is nested too deeply") from None
    inventory = _Reader(path, lines).inventory(tree)
    seen: list[Device] = []
    for device in inventory.devices:
        check_distinct(device, seen, path)
        seen.append(device)
    return inventory


def select(inventory: Inventory, names: Sequence[str]) -> tuple[Device, ...]:
    """The devices of these names, in their order and each once; all of the fleet where no name is given.

    Raises:
        UnknownDeviceError: If a name is not in the fleet.
        NoDevicesError: If no name is given and the fleet has no device.
    """
    if not names and not inventory.devices:
        raise NoDevicesError(inventory.path)
    return tuple(get(inventory, name) for name in dict.fromkeys(names)) or inventory.devices


def get(inventory: Inventory, name: str) -> Device:
    """The device of this name.

    Raises:
        UnknownDeviceError: If there is none.
    """
    device = inventory.device(name)
    if device is None:
        raise UnknownDeviceError(inventory.path, name, [each.name for each in inventory.devices])
    return device


def check_distinct(device: Device, others: Iterable[Device], path: Path) -> None:
    """Refuse a device that is one of `others` under another name.

    Raises:
        DuplicateDeviceError: Naming the other and what they share.
    """
    for other in others:
        what = shared(device, other)
        if what:
            raise DuplicateDeviceError(path, device.line, device.name, what, other.name, other.line)


def shared(device: Device, other: Device) -> str:
    """What makes two entries one device, in words; empty where they are two.

    A machine-id alone does not, because copied cards share it; nor does a host key alone.
    """
    if (device.address.lower(), device.port) == (other.address.lower(), other.port):
        return f"address and port (`{device.address}`, {device.port})"
    if _ssh_key(device.ssh) == _ssh_key(other.ssh):
        return f"SSH target (`{device.ssh}`)"
    known = device.machine_id is not None and device.host_key is not None
    if known and (device.machine_id, device.host_key) == (other.machine_id, other.host_key):
        return "machine-id and host key"
    return ""


def _ssh_key(target: str) -> tuple[str | None, str, int | None]:
    parsed = parse_target(target)
    return parsed.user, parsed.host.lower(), parsed.port


def _syntax_error(text: str, path: Path, message: str) -> BadFleetFileError:
    """Tomllib puts the place behind its message; what ends too early is at the last line."""
    cause, _, place = message.rpartition(" (at ")
    found = re.match(r"line (\d+)", place)
    line = int(found.group(1)) if found else max(1, len(text.rstrip().split("\n")))
    if twice := re.fullmatch(r"Cannot declare \((.*)\) twice", cause):
        key = ".".join(re.findall(r"'([^']*)'", twice[1]))
        return BadFleetFileError(path, line, f"`{key}` is there twice")
    return BadFleetFileError(path, line, f"it is no TOML: {in_sentence(cause)}")


class _Reader:
    """Checks one parsed fleet file; each complaint knows its line."""

    def __init__(self, path: Path, lines: Mapping[Keys, int]) -> None:
        self._path = path
        self._lines = lines

    def inventory(self, tree: dict[str, Any]) -> Inventory:
        self._only_known((), tree, FLEET_KEYS, "")
        if "id" not in tree:
            raise BadFleetFileError(self._path, 1, "`id` is missing, which names the folder of the fleet's keys")
        word = self._text((), tree, "id")
        if not _ID.fullmatch(word):
            raise self._bad(("id",), f"`id` is 1 to 64 letters, digits, `-` or `_`, not `{word}`")
        devices = tree.get("devices", {})
        if not isinstance(devices, dict):
            raise self._bad(("devices",), f"`devices` is a table of tables, not {_kind(devices)}")
        security: Security = self._choice((), tree, "security", "tls", get_args(Security))
        return Inventory(
            path=self._path,
            id=word,
            security=security,
            devices=tuple(self._device(name, entry) for name, entry in devices.items()),
        )

    def _device(self, name: str, tree: object) -> Device:
        keys = ("devices", name)
        if not isinstance(tree, dict):
            raise self._bad(keys, f"device `{name}` is a table, not {_kind(tree)}")
        if not NAME.fullmatch(name):
            raise self._bad(keys, f"a device cannot be called `{name}`: {NAME_RULE}")
        self._only_known(keys, tree, DEVICE_KEYS, f" of device `{name}`")
        for key in ("ssh", "address"):
            if key not in tree:
                raise self._bad(keys, f"`{key}` of device `{name}` is missing")
        install: Install = self._choice(keys, tree, "install", "system", get_args(Install))
        return Device(
            name=name,
            ssh=self._ssh(keys, tree),
            address=self._address(keys, tree),
            port=self._port(keys, tree),
            machine_id=self._matching(keys, tree, "machine_id", _MACHINE_ID, "32 hexadecimal digits"),
            host_key=self._matching(keys, tree, "host_key", _HOST_KEY, "a fingerprint, `SHA256:...`"),
            install=install,
            drained=self._flag(keys, tree, "drained"),
            line=self._line(keys),
        )

    def _ssh(self, keys: Keys, tree: Mapping[str, object]) -> str:
        target = self._text(keys, tree, "ssh")
        try:
            parse_target(target)
        except BadTargetError as error:
            raise self._bad((*keys, "ssh"), f"`ssh`: {error.message}") from None
        return target

    def _address(self, keys: Keys, tree: Mapping[str, object]) -> str:
        address = self._text(keys, tree, "address")
        fault = address_fault(address)
        if fault:
            raise self._bad((*keys, "address"), f"`address` cannot be `{address}`: {fault}")
        return address

    def _port(self, keys: Keys, tree: Mapping[str, object]) -> int:
        port = tree.get("port", DEFAULT_PORT)
        if isinstance(port, bool) or not isinstance(port, int):
            raise self._bad((*keys, "port"), f"`port` is a number, not {_kind(port)}")
        if not 0 < port < 65536:
            raise self._bad((*keys, "port"), f"`port` is a number from 1 to 65535, not {port}")
        return port

    def _matching(
        self, keys: Keys, tree: Mapping[str, object], key: str, form: re.Pattern[str], rule: str
    ) -> str | None:
        if key not in tree:
            return None
        text = self._text(keys, tree, key)
        if not form.fullmatch(text):
            raise self._bad((*keys, key), f"`{key}` is {rule}, not `{text}`")
        return text

    def _flag(self, keys: Keys, tree: Mapping[str, object], key: str) -> bool:
        value = tree.get(key, False)
        if not isinstance(value, bool):
            raise self._bad((*keys, key), f"`{key}` is true or false, not {_kind(value)}")
        return value

    def _choice(self, keys: Keys, tree: Mapping[str, object], key: str, default: str, allowed: tuple[str, ...]) -> Any:  # noqa: ANN401 - one of the words of a Literal, which the caller names
        word = self._text(keys, tree, key) if key in tree else default
        if word not in allowed:
            raise self._bad((*keys, key), f"`{key}` is {' or '.join(f'`{each}`' for each in allowed)}, not `{word}`")
        return word

    def _text(self, keys: Keys, tree: Mapping[str, object], key: str) -> str:
        value = tree[key]
        if not isinstance(value, str):
            raise self._bad((*keys, key), f"`{key}` is a text in quotes, not {_kind(value)}")
        return value

    def _only_known(self, keys: Keys, tree: Mapping[str, object], known: tuple[str, ...], of: str) -> None:
        for key, value in tree.items():
            if key in known:
                continue
            closest = difflib.get_close_matches(key, known, n=1)
            text = f"unknown key `{key}`{of}"
            if closest:
                text += f" (closest: `{closest[0]}`)"
            elif isinstance(value, dict) and keys:
                text += f'; a name with a dot stands in quotes, `[devices."{keys[-1]}.{key}"]`'
            raise self._bad((*keys, key), text)

    def _bad(self, keys: Keys, cause: str) -> BadFleetFileError:
        return BadFleetFileError(self._path, self._line(keys), cause)

    def _line(self, keys: Keys) -> int:
        return next((self._lines[keys[:depth]] for depth in range(len(keys), 0, -1) if keys[:depth] in self._lines), 1)


def _kind(value: object) -> str:
    """What a TOML value is, for people."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'the text "{value}"'
        case int() | float():
            return f"the number {value}"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return f"the date {value}"
