"""A fleet as one file, so that a second host can use it without deploying anew.

It holds the fleet file, this host's certificate *and private key*, and the certificates
of the agents; never an agent's private key. Whoever holds the bundle is a host of the fleet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from cocoi_cli.errors import ConfigurationError
from cocoi_cli.files import OutputNotWritableError
from cocoi_cli.fleet.changes import change, changing
from cocoi_cli.fleet.editing import save_text
from cocoi_cli.fleet.folders import DataFolderError, data_folder, data_path, write_private
from cocoi_cli.fleet.inventory import (
    BadFleetFileError,
    DuplicateDeviceError,
    NoFleetError,
    load,
    read,
    read_text,
)
from cocoi_cli.fleet.keys import agent_certificate, host_identity, next_host_identity
from cocoi_cli.model.inputs import reason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cocoi_cli.fleet.records import Inventory

VERSION: Final = 1
_MARK: Final = "cocoi_fleet"
_KEYS: Final = (_MARK, "fleet_toml", "host_crt", "host_key", "agents")


class NoKeysError(ConfigurationError):
    """The fleet has no keys on this host yet, so another host would be none of its hosts."""

    code: ClassVar[str] = "no-keys"

    def __init__(self, path: Path, folder: Path) -> None:
        super().__init__(
            f"the fleet of `{path}` has no host certificate and key yet in `{folder}`",
            path=str(path),
            folder=str(folder),
        )


class RotatingError(ConfigurationError):
    """Certificates are being rotated: what would be exported now is worth nothing soon."""

    code: ClassVar[str] = "rotating"

    def __init__(self, path: Path) -> None:
        super().__init__(f"the certificates of the fleet of `{path}` are being rotated", path=str(path))


class BadBundleError(ConfigurationError):
    """A bundle is cut off, damaged or of another form; nothing of it has been written."""

    code: ClassVar[str] = "bad-bundle"

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"`{path}` is no whole fleet bundle: {cause}", path=str(path), cause=cause)


class OtherFleetError(ConfigurationError):
    """The fleet file that a bundle would become is another fleet's."""

    code: ClassVar[str] = "other-fleet"

    def __init__(self, path: Path, present: str, wanted: str) -> None:
        super().__init__(
            f"`{path}` is the file of another fleet: its id is `{present}`, that of the bundle `{wanted}`",
            path=str(path),
            present=present,
            wanted=wanted,
        )


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle: the fleet file reads, host certificate and key belong together.

    Attributes:
        inventory: What the fleet file says; its path is the place it is meant for.
        fleet_toml: The fleet file as text.
        host_crt: Certificate of the host, PEM.
        host_key: Its private key, PEM.
        agents: Certificates of the agents, PEM, by device name.
    """

    inventory: Inventory
    fleet_toml: str
    host_crt: str
    host_key: str
    agents: Mapping[str, str]


class _Fields(NamedTuple):
    fleet_toml: str
    host_crt: str
    host_key: str
    agents: dict[str, str]


def export(path: Path) -> Bundle:
    """Gather the fleet of a fleet file; devices that were never deployed to have no certificate in it.

    Raises:
        NoFleetError, BadFleetFileError, DuplicateDeviceError: As `inventory.load`.
        NoKeysError: If the host has no certificate and key for this fleet.
        RotatingError: If certificates are being rotated.
        BrokenKeysError, OpenKeysError, DataFolderError: If they cannot be used.
    """
    text = read_text(path)
    inventory = read(text, path)
    folder = data_path(inventory.id)
    if next_host_identity(inventory) is not None:
        raise RotatingError(path)
    identity = host_identity(inventory)
    if identity is None:
        raise NoKeysError(path, folder)
    certificates = {device.name: agent_certificate(inventory, device) for device in inventory.devices}
    try:
        return Bundle(
            inventory=inventory,
            fleet_toml=text,
            host_crt=identity.certificate.read_text(encoding="ascii", errors="replace"),
            host_key=identity.key.read_text(encoding="ascii", errors="replace"),
            agents={
                name: file.read_text(encoding="ascii", errors="replace") for name, file in certificates.items() if file
            },
        )
    except OSError as error:
        raise DataFolderError(folder, reason(error)) from error


def to_text(bundle: Bundle) -> str:
    """The file: one JSON document."""
    values = (VERSION, bundle.fleet_toml, bundle.host_crt, bundle.host_key, dict(bundle.agents))
    return json.dumps(dict(zip(_KEYS, values, strict=True)), indent=1) + "\n"


def is_bundle(text: str) -> bool:
    """Whether a file is meant as a bundle, whole or not."""
    return text.lstrip().startswith("{") and f'"{_MARK}"' in text[:200]


def parse(text: str, source: Path, fleet_file: Path) -> Bundle:
    """Read a bundle and check all of it, before anything is written.

    Args:
        text: The file.
        source: Its path, for messages.
        fleet_file: Where its fleet file is to go.

    Raises:
        BadBundleError: At the first thing that is missing, damaged or does not belong together.
    """
    fields = _fields(text, source)
    try:
        inventory = read(fields.fleet_toml, fleet_file)
    except (BadFleetFileError, DuplicateDeviceError) as error:
        line = error.details["line"]
        cause = error.details.get("cause") or error.message
        raise BadBundleError(source, f"line {line} of its fleet file: {cause}") from None
    bundle = Bundle(inventory, fields.fleet_toml, fields.host_crt, fields.host_key, fields.agents)
    _check_keys(bundle, source)
    return bundle


def present_text(bundle: Bundle) -> str | None:
    """What the fleet file says that the bundle would replace; None if there is none.

    Raises:
        OtherFleetError: If it is the file of another fleet.
        BadFleetFileError, DuplicateDeviceError: If it cannot be read.
    """
    path = bundle.inventory.path
    try:
        present = load(path)
    except NoFleetError:
        return None
    if present.id != bundle.inventory.id:
        raise OtherFleetError(path, present.id, bundle.inventory.id)
    return read_text(path)


def install(bundle: Bundle) -> None:
    """Write the keys, all or none, and then the fleet file: cut off, it can be repeated.

    Raises:
        OtherFleetError, BadFleetFileError, DuplicateDeviceError: As `present_text`.
        DataFolderError, OutputNotWritableError: If the system refuses.
    """
    present_text(bundle)
    folder = data_folder(bundle.inventory)
    files = {f"agents/{name}.crt": text.encode() for name, text in bundle.agents.items()}
    files |= {"host.crt": bundle.host_crt.encode(), "host.key": bundle.host_key.encode()}
    try:
        with changing(folder):
            # Successors of the keys that were here would take the place of those that come now.
            change(folder, files, ("next",))
    except OSError as error:
        raise DataFolderError(folder, reason(error)) from error
    save_text(bundle.inventory.path, bundle.fleet_toml)


def save(bundle: Bundle, path: Path) -> None:
    """Write the bundle as a file that only the user can read.

    Raises:
        OutputNotWritableError: If it cannot be written; what was there is then still there.
    """
    try:
        write_private(path, to_text(bundle).encode())
    except DataFolderError as error:
        raise OutputNotWritableError(str(path), str(path.parent), str(error.details["cause"])) from error


def _fields(text: str, source: Path) -> _Fields:
    """The parts of the document, each of its type."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise BadBundleError(source, "it is no JSON, or cut off") from None
    if not isinstance(document, dict) or _MARK not in document:
        raise BadBundleError(source, f"it has no `{_MARK}`")
    if document[_MARK] != VERSION:
        raise BadBundleError(source, f"its form is {document[_MARK]!r}, this release reads {VERSION}")
    missing = next((key for key in _KEYS if key not in document), None)
    if missing:
        raise BadBundleError(source, f"`{missing}` is missing")
    match document:
        case {"fleet_toml": str(fleet), "host_crt": str(certificate), "host_key": str(key), "agents": dict(agents)}:
            if all(isinstance(each, str) for each in agents.values()):
                return _Fields(fleet, certificate, key, agents)
        case _:
            pass
    raise BadBundleError(source, "a part of it is no text")


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace")


def _check_keys(bundle: Bundle, source: Path) -> None:
    certificate = _certificate(bundle.host_crt, "the host's certificate", source)
    try:
        key = serialization.load_pem_private_key(bundle.host_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadBundleError(source, "the host's private key cannot be read") from None
    if key.public_key() != certificate.public_key():
        raise BadBundleError(source, "the host's certificate and private key do not belong together")
    for name, text in bundle.agents.items():
        if bundle.inventory.device(name) is None:
            raise BadBundleError(source, f"it has a certificate of `{name}`, which its fleet file does not name")
        _certificate(text, f"the certificate of `{name}`", source)


def _certificate(text: str, what: str, source: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        raise BadBundleError(source, f"{what} cannot be read") from None
