"""Mutual TLS 1.3 between pinned, self-signed certificates.

Each side trusts exactly the certificates it was given, by name of file: no
authority, no host names, and no clock, since a Raspberry Pi without network boots
with an old date. A peer counts as connected only once it answered a `Hello`.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from pathlib import Path

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which Python's ssl does not name


class TrustError(Exception):
    """A certificate or key file is unfit.

    Attributes:
        path: The file, or the files, that were read.
        reason: The system's words.
    """

    code: ClassVar[str] = "trust"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"`{path}`: {reason}")
        self.path = path
        self.reason = reason


def agent_context(cert: str | Path, key: str | Path, pinned: str | Path) -> ssl.SSLContext:
    """The agent's side.

    Args:
        cert: PEM file of the agent's own certificate.
        key: PEM file of its private key.
        pinned: PEM file of the certificates of the hosts that may connect.

    Raises:
        TrustError: If a file cannot be read or used.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, cert, key, pinned)
    context.num_tickets = 0  # a ticket would outlive the removal of its certificate
    return context


def host_context(cert: str | Path, key: str | Path, pinned: str | Path) -> ssl.SSLContext:
    """The host's side; `pinned` holds the certificates of its agents. Otherwise as `agent_context`."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, cert, key, pinned)


def _context(kind: ssl._SSLMethod, cert: str | Path, key: str | Path, pinned: str | Path) -> ssl.SSLContext:
    context = ssl.SSLContext(kind)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | _NO_CHECK_TIME)
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:
        raise TrustError(f"{cert}, {key}", error.strerror or str(error)) from error
    try:
        context.load_verify_locations(cafile=str(pinned))
    except OSError as error:
        raise TrustError(str(pinned), error.strerror or str(error)) from error
    return context
