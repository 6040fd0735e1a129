"""Keys and self-signed certificates: what an agent and its host know each other by.

There is no certificate authority and no dependence on clocks: each side pins the
other's certificate, byte for byte. Certificates are dated from long ago to far ahead,
because a Pi without a battery clock may boot into any year.
"""

from __future__ import annotations

import datetime
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

NOT_BEFORE = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
NOT_AFTER = datetime.datetime(2099, 12, 31, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Identity:
    """The files of one certificate and its private key (mode 0600)."""

    certificate: Path
    key: Path


def make_identity(folder: Path, name: str) -> Identity:
    """Make a P-256 key and a self-signed certificate for it.

    Args:
        folder: Existing folder; `<name>.crt` and `<name>.key` are written there.
        name: Common name, for humans; trust rests on the certificate's bytes alone.

    Raises:
        OSError: If the files cannot be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    # OpenSSL looks trusted certificates up by subject: while a certificate is being replaced, both must be found.
    distinct = x509.NameAttribute(NameOID.SERIAL_NUMBER, secrets.token_hex(16))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), distinct])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        # A pinned certificate is its own authority, so OpenSSL must be allowed to end the chain at it.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    identity = Identity(folder / f"{name}.crt", folder / f"{name}.key")
    identity.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(identity.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private)
    return identity
