"""Clients that are not cocoi: they show whatever certificate they have, trust anybody, and say hello."""

from __future__ import annotations

import ssl
from pathlib import Path

from cocoi_agent.wire.encode import encode
from cocoi_agent.wire.limits import PROTOCOL_VERSIONS
from cocoi_agent.wire.messages import Hello
from cocoi_cli.runtime.trust import Identity
from tests.fleet_lab.fleet import Fleet

HELLO = b"".join(bytes(part) for part in encode(Hello(PROTOCOL_VERSIONS, "stranger", (), "stranger", 1 << 20, 1 << 20)))

NOBODY = (ssl.SSLError, ConnectionError)
"""How a refusal looks from outside; silence until a time-out is none."""


def host_identity(fleet: Fleet) -> Identity:
    """What the fleet's own host shows."""
    return Identity(fleet.host.data / "host.crt", fleet.host.data / "host.key")


def copied(identity: Identity, folder: Path) -> Identity:
    """A copy, as a thief would take."""
    copies = [folder / each.name for each in (identity.certificate, identity.key)]
    for copy, original in zip(copies, (identity.certificate, identity.key), strict=True):
        copy.write_bytes(original.read_bytes())
    return Identity(*copies)


def context_for(identity: Identity | None) -> ssl.SSLContext:
    """TLS that shows this certificate, and accepts any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


def connect(fleet: Fleet, device: int, identity: Identity | None) -> ssl.SSLSocket:
    """A TLS connection to an agent; whether it is welcome shows at the first answer only."""
    return context_for(identity).wrap_socket(fleet.lab.connect(device))


def talk(fleet: Fleet, device: int, identity: Identity | None) -> bytes:
    """What the agent answers to a hello; nothing if it refuses to talk."""
    try:
        with connect(fleet, device, identity) as channel:
            channel.sendall(HELLO)
            return channel.recv(1 << 16)
    except NOBODY:
        return b""


def hung_up(connection: ssl.SSLSocket) -> bool:
    """Whether the agent ends a connection without a reason on our side."""
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except NOBODY:
        return True
    return True


def record(fleet: Fleet, device: int, identity: Identity) -> tuple[bytes, bytes]:
    """Every byte that a client sends in a session, and what it is answered."""
    incoming, outgoing, sent = ssl.MemoryBIO(), ssl.MemoryBIO(), b""
    channel = context_for(identity).wrap_bio(incoming, outgoing)
    with fleet.lab.connect(device) as connection:

        def exchange(step):
            nonlocal sent
            while True:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    result = None
                data = outgoing.read()
                sent += data
                connection.sendall(data)
                if result is not None:
                    return result
                incoming.write(connection.recv(1 << 16))

        exchange(lambda: channel.do_handshake() or "done")
        exchange(lambda: channel.write(HELLO))
        return sent, exchange(lambda: channel.read(1 << 16))
