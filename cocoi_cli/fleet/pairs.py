"""A certificate and its key as two files: making them, and telling a whole pair from a broken one.

Nothing here is ever repaired by itself: agents trust the certificate that they were given, so
a pair that was replaced silently would lock the host out of its own fleet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from cocoi_cli.errors import ConfigurationError
from cocoi_cli.fleet.changes import draft
from cocoi_cli.runtime.trust import Identity, make_identity

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes

_OTHERS = 0o077


class BrokenKeysError(ConfigurationError):
    """A certificate and its key are not a pair that can be used; `details["paths"]` names the files."""

    code: ClassVar[str] = "broken-keys"

    def __init__(self, paths: tuple[Path, ...], cause: str) -> None:
        names = " and ".join(f"`{path}`" for path in paths)
        super().__init__(f"cannot use {names}: {cause}", paths=[str(path) for path in paths], cause=cause)


class OpenKeysError(ConfigurationError):
    """Other users of this machine can read or change a private key."""

    code: ClassVar[str] = "open-keys"

    def __init__(self, path: Path, mode: int) -> None:
        super().__init__(
            f"the private key `{path}` is open to other users: its mode is {mode:04o}, not 0600",
            path=str(path),
            mode=f"{mode:04o}",
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """The text of a certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


def new_pair(folder: Path, name: str) -> Pair:
    """Make a certificate and its key, without leaving a file.

    Args:
        folder: Existing and private; the key is in a draft there for a moment.
        name: Common name of the certificate.
    """
    with draft(folder) as scratch:
        identity = make_identity(scratch, name)
        return Pair(identity.certificate.read_bytes(), identity.key.read_bytes())


def read_pair(identity: Identity) -> Pair | None:
    """The pair in these files, checked; None if neither file exists.

    Raises:
        BrokenKeysError: If one is missing or unreadable as what it should be, or they do not belong together.
        OpenKeysError: If others can read the key.
        OSError: If the system refuses.
    """
    paths = identity.certificate, identity.key
    there = [path for path in paths if path.exists()]
    if not there:
        return None
    if len(there) == 1:
        (missing,) = set(paths) - set(there)
        raise BrokenKeysError(paths, f"`{missing.name}` is missing")
    mode = identity.key.stat().st_mode & 0o777
    if mode & _OTHERS:
        raise OpenKeysError(identity.key, mode)
    pair = Pair(identity.certificate.read_bytes(), identity.key.read_bytes())
    if _spki(certificate_key(identity.certificate, pair.certificate)) != _spki(_private_key(identity.key, pair.key)):
        raise BrokenKeysError(paths, "the key is not the one of the certificate")
    return pair


def certificate_key(path: Path, data: bytes) -> CertificatePublicKeyTypes:
    """The public key of a certificate in PEM; `path` is for the message.

    Raises:
        BrokenKeysError: If it is no certificate.
    """
    try:
        return x509.load_pem_x509_certificate(data).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise BrokenKeysError((path,), "it is no certificate in PEM form") from None


def _private_key(path: Path, data: bytes) -> PublicKeyTypes:
    try:
        return serialization.load_pem_private_key(data, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        raise BrokenKeysError((path,), "it is no private key in PEM form without a password") from None


def _spki(key: PublicKeyTypes | CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
