"""What asyncssh and the system say when a connection fails, as errors of `cocoi_cli.fleet.errors`."""

from __future__ import annotations

import errno
import os
import re
import socket
from typing import Final

import asyncssh

from cocoi_cli.fleet.errors import UnreachableError

_NOWHERE: Final = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_RESET: Final = {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED}


def unreachable(device: str, place: str, error: Exception, *, greeted: bool, words: str) -> UnreachableError:
    """The error for a connection that did not come about.

    Args:
        device: Its name in the fleet.
        place: What was connected to, for people: a host with its port, and which jump host it is.
        error: What was raised.
        greeted: The other side has said that it speaks SSH.
        words: What a ProxyCommand complained about.
    """
    kind, cause = _kind(place, error, greeted=greeted)
    cause += f": {words}" if words else ""
    return UnreachableError(device, "connect", cause, kind=kind, host=place)


def silent(device: str, place: str, seconds: float, *, connected: bool) -> UnreachableError:
    """The error for a server that did not answer in time."""
    what = f"{place} accepts connections, but has not let SSH in" if connected else f"no answer from {place}"
    cause = f"{what} within {seconds:g} s"
    return UnreachableError(device, "connect", cause, kind="timeout", host=place, seconds=seconds)


def _kind(place: str, error: Exception, *, greeted: bool) -> tuple[str, str]:
    text = str(error).strip().rstrip(".")
    number = _number(error) if isinstance(error, OSError) else None
    match error:
        case socket.gaierror():
            return "unresolved", f"the name of {place} is not known ({error.strerror})"
        case asyncssh.ChannelOpenError():  # from a jump host
            if "refused" in text.lower():
                return "refused", f"{place} refuses connections"
            return "unreachable", f"the jump host cannot reach {place}: {text[:1].lower()}{text[1:]}"
        case OSError() if number == errno.ECONNREFUSED:
            return "refused", f"{place} refuses connections"
        case OSError() if number in _NOWHERE:
            return "unreachable", f"there is no way to {place} ({_words(error)})"
        case OSError() if number == errno.ETIMEDOUT:
            return "timeout", f"no answer from {place}"
        case OSError() if number not in _RESET:
            return "unreachable", f"{place} cannot be connected to ({_words(error)})"
        case asyncssh.KeyExchangeFailed():
            return "not-ssh", f"{place} and this machine have no way to encrypt in common ({text})"
        case asyncssh.ConnectionLost() | OSError() if greeted:
            return "not-ssh", f"{place} closed the connection before anybody could log in"
        case asyncssh.ConnectionLost() | OSError():
            return "not-ssh", f"{place} closed the connection before saying that it speaks SSH"
        case _:
            return "not-ssh", f"{place} does not speak SSH as it should ({text})"


def _number(error: OSError) -> int | None:
    """The system's error number; asyncio hides those of several addresses in its text."""
    if error.errno is not None:
        return error.errno
    found = re.search(r"\[Errno (\d+)\]", str(error))
    return int(found[1]) if found else None


def _words(error: OSError) -> str:
    # asyncio words it in its own way: `Connect call failed ('10.0.0.9', 22)`.
    number = _number(error)
    return (os.strerror(number) if number else error.strerror or str(error)).lower()
