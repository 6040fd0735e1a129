"""TLS on this device without a network: two ends in memory that send each other blocks.

Cipher by cipher, sealing and opening apart. TLS 1.2 is spoken because Python cannot choose
among the ciphers of 1.3; the work on the records is the same.
"""

from __future__ import annotations

import os
import ssl
import tempfile
import time
from typing import Any, cast

CIPHERS = {
    "chacha20": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "aes-256-gcm": "ECDHE-ECDSA-AES256-GCM-SHA384",
}
BLOCK = 256 * 1024
MOST_BLOCKS = 8  # of one cipher in one round
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: a device's clock may be wrong


class Cipher:
    """Two ends that have shaken hands, and what each block took."""

    def __init__(self, name: str, client: ssl.SSLObject, server: ssl.SSLObject, wire: ssl.MemoryBIO) -> None:
        self.name = name
        self._client, self._server, self._wire = client, server, wire
        self._target = bytearray(BLOCK)
        self._block = bytes(BLOCK)
        self.seal: list[float] = []
        self.open: list[float] = []

    def repeat(self, until: float) -> None:
        """Send at least one block, until the time is over or there are enough."""
        for _ in range(MOST_BLOCKS):
            started = time.perf_counter()
            self._client.write(self._block)
            sealed = time.perf_counter()
            left = BLOCK
            while left:
                left -= cast("int", self._server.read(left, self._target))  # with a buffer it is a count
            self.open.append(round(time.perf_counter() - sealed, 9))
            self.seal.append(round(sealed - started, 9))
            if time.monotonic() >= until:
                break

    def rows(self) -> dict[str, Any]:
        """By cipher and direction: size in bytes of plain data, and the durations."""
        rows = (("seal", self.seal), ("open", self.open))
        return {f"{self.name}-{way}": {"size": BLOCK, "seconds": seconds} for way, seconds in rows}


def ciphers(certificate: str, key: str) -> list[Cipher]:
    """Those that this device's OpenSSL has."""
    found = []
    for name, word in CIPHERS.items():
        try:
            found.append(_connected(name, word, certificate, key))
        except ssl.SSLError:  # an OpenSSL that was built without it
            continue
    return found


def _connected(name: str, word: str, certificate: str, key: str) -> Cipher:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = _client(word, certificate).wrap_bio(back, there)
    server = _server(word, certificate, key).wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return Cipher(name, client, server, there)


def _client(word: str, certificate: str) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_CLIENT, word)
    context.check_hostname = False
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | _NO_CHECK_TIME)
    context.load_verify_locations(cadata=certificate)
    return context


def _server(word: str, certificate: str, key: str) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_SERVER, word)
    handle, path = tempfile.mkstemp(prefix="cocoi-profile-")  # OpenSSL takes files only; mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(certificate + key)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)  # noqa: PTH108 - it is a name, not a Path
    return context


def _context(kind: Any, word: str) -> ssl.SSLContext:  # noqa: ANN401 - the library's constants have no common type
    context = ssl.SSLContext(kind)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(word)
    return context
