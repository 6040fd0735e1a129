"""Changes of the fleet file: one at a time, comments and order kept, saved whole or not at all."""

from __future__ import annotations

import os
import secrets
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ClassVar, Final

from cocoi_cli.errors import ConfigurationError
from cocoi_cli.files import OutputNotWritableError, write
from cocoi_cli.fleet.inventory import BadFleetFileError, NoFleetError, check_distinct, get, read, read_text
from cocoi_cli.fleet.names import NAME, BadAddressError, BadNameError, address_fault, parse_target
from cocoi_cli.fleet.records import DEFAULT_PORT
from cocoi_cli.fleet.toml_text import with_table, with_value, without_table
from cocoi_cli.model.inputs import reason

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cocoi_cli.fleet.records import Device, Inventory

_HEAD: Final = """\
# The devices of this fleet. It is yours to edit: cocoi keeps comments and order.
#
# [devices.shelf-1]
# ssh = "pi@192.168.1.11"       # what ssh would be given; an alias of your ssh configuration will do
# address = "192.168.1.11"      # the agent listens here and nowhere else
# port = 52600                  # may be left out
# install = "user"              # a user service, without root; absent: a system service
# drained = true                # not used for inference; absent: used

id = "{id}"  # names the folder of this fleet's keys; leave it as it is
"""


class DeviceExistsError(ConfigurationError):
    """A device of this name is in the fleet already."""

    code: ClassVar[str] = "device-exists"

    def __init__(self, path: Path, device: Device) -> None:
        super().__init__(
            f"fleet file `{path}` has a device `{device.name}` already (line {device.line})",
            path=str(path),
            device=device.name,
            line=device.line,
        )


class Editor:
    """A fleet file while it is being changed; `editing` makes one and saves it.

    Attributes:
        inventory: What the file says with the changes made so far.
    """

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self.text = text
        self.inventory: Inventory = read(text, path)

    def add(self, device: Device) -> None:
        """Append a device; values that are the default are not written.

        Raises:
            DeviceExistsError: If its name is taken.
            DuplicateDeviceError: If it is one of the fleet under another name.
            BadNameError, BadTargetError, BadAddressError: As they say.
        """
        if not NAME.fullmatch(device.name):
            raise BadNameError(device.name)
        parse_target(device.ssh)
        fault = address_fault(device.address)
        if fault:
            raise BadAddressError(device.address, fault)
        present = self.inventory.device(device.name)
        if present is not None:
            raise DeviceExistsError(self._path, present)
        check_distinct(device, self.inventory.devices, self._path)
        self._take(with_table(self.text, ("devices", device.name), _values(device)))

    def remove(self, name: str) -> None:
        """Take a device out, with the comments that are about it.

        Raises:
            UnknownDeviceError: If it is not there.
        """
        get(self.inventory, name)
        self._take(without_table(self.text, ("devices", name)))

    def update(self, name: str, **fields: str | int | bool | None) -> None:
        """Set keys of a device as they stand in the file; None, and `drained=False`, drop the key.

        Raises:
            UnknownDeviceError: If it is not there.
            BadFleetFileError, DuplicateDeviceError: If the file cannot say that.
        """
        get(self.inventory, name)
        text = self.text
        for key, value in fields.items():
            text = with_value(text, ("devices", name, key), None if value is False else value)
        self._take(text)

    def _take(self, text: str) -> None:
        # What would not be read again is not written.
        self.inventory = read(text, self._path)
        self.text = text


@contextmanager
def editing(path: Path, *, create: bool = False) -> Iterator[Editor]:
    """Change the fleet file in a `with` block, by the methods of what it gives.

    Others who edit wait meanwhile, so nothing that takes long, and no question, belongs
    into the block. The file is replaced at the end of the block if something has changed,
    and left alone if the block raises.

    Args:
        path: The fleet file.
        create: Begin a new fleet if there is none; it is written only if a device is added.

    Raises:
        NoFleetError: If there is no such file, unless `create`.
        BadFleetFileError, DuplicateDeviceError: If what is there cannot be read.
        OutputNotWritableError: If it cannot be saved; the old file is then still there.
    """
    if create:
        _make_parent(path)
    with _locked(path):
        try:
            text = read_text(path)
        except NoFleetError:
            if not create:
                raise
            text = _new_text()
        editor = Editor(path, text)
        start = editor.text
        yield editor
        if editor.text != start:
            write(str(path), editor.text.encode())


def create(path: Path) -> Inventory:
    """Write a fleet file without devices, with a new random id.

    Raises:
        BadFleetFileError: If there is one already.
        OutputNotWritableError: If it cannot be written.
    """
    _make_parent(path)
    with _locked(path):
        if path.exists():
            raise BadFleetFileError(path, 0, "it exists already")
        text = _new_text()
        write(str(path), text.encode())
    return read(text, path)


def save_text(path: Path, text: str) -> None:
    """Put a whole fleet file in place, as `editing` does.

    Raises:
        OutputNotWritableError: If it cannot be written.
    """
    _make_parent(path)
    with _locked(path):
        write(str(path), text.encode())


def _new_text() -> str:
    return _HEAD.format(id=secrets.token_hex(8))


def _values(device: Device) -> dict[str, object]:
    values: dict[str, object] = {"ssh": device.ssh, "address": device.address}
    if device.port != DEFAULT_PORT:
        values["port"] = device.port
    if device.machine_id is not None:
        values["machine_id"] = device.machine_id
    if device.host_key is not None:
        values["host_key"] = device.host_key
    if device.install != "system":
        values["install"] = device.install
    if device.drained:
        values["drained"] = True
    return values


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputNotWritableError(str(path), str(path.parent), reason(error)) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the folder's lock. Not the file's: it is replaced; and no file of its own, which would stay behind."""
    try:
        handle = os.open(path.resolve().parent, os.O_RDONLY)
    except FileNotFoundError:
        raise NoFleetError(path) from None
    except OSError as error:
        raise BadFleetFileError(path, 0, reason(error)) from error
    try:
        if sys.platform != "win32":
            with suppress(OSError):  # a network file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
