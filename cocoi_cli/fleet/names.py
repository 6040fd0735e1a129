"""What a user types for a device: its name, where ssh goes, where the agent listens. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from cocoi_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

LONGEST_NAME: Final = 63  # a label of DNS; the name also becomes a file's name and an agent's id
NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
NAME_RULE: Final = "letters a-z, digits, `-` and `.`, at most 63, a letter or digit first"

_NO_NAME: Final = "device"
# Nothing that a shell takes for more than a letter: the user's ssh configuration may hand both to one (`ProxyCommand`
# with `%h` or `%r`, `Match exec`). The same characters as OpenSSH refuses.
_HOST: Final = re.compile(r"""(?!-)[^\s\x00-\x1f\x7f@:/\[\]"'`,*?!#$\\;&<>|(){}]+""")
_USER: Final = re.compile(r"""(?!-)[^\s\x00-\x1f\x7f:"'`;&<>|(){}]+(?<!\\)""")
_ZONE: Final = re.compile(r"[A-Za-z0-9_.-]+")
_DNS_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


class BadTargetError(UsageError):
    """What was given as an SSH target is none; `cause` says what is wrong with it."""

    code: ClassVar[str] = "bad-target"

    def __init__(self, target: str, cause: str) -> None:
        super().__init__(f"`{target}` is no SSH target: {cause}", target=target, cause=cause)
        self.cause = cause


class BadNameError(UsageError):
    """A name that no device can have."""

    code: ClassVar[str] = "bad-name"

    def __init__(self, name: str) -> None:
        super().__init__(f"a device cannot be called `{name}`: {NAME_RULE}", name=name)


class BadAddressError(UsageError):
    """An address at which no agent can listen."""

    code: ClassVar[str] = "bad-address"

    def __init__(self, address: str, cause: str) -> None:
        super().__init__(f"an agent cannot listen at `{address}`: {cause}", address=address, cause=cause)


@dataclass(frozen=True, slots=True)
class SshTarget:
    """`[user@]host[:port]` taken apart; `host` may be an alias of the user's ssh configuration."""

    user: str | None
    host: str
    port: int | None

    def __str__(self) -> str:
        """As it would be typed; an IPv6 address stands in brackets where a port follows."""
        host = f"[{self.host}]" if self.port is not None and ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{self.user}@{host}{port}" if self.user else f"{host}{port}"

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address, not a name."""
        return is_ip(self.host)


def parse_target(text: str) -> SshTarget:
    """Take an SSH target apart.

    Raises:
        BadTargetError: If it has no host, a port that is none, or characters that no target has.
    """
    user, at, rest = text.rpartition("@")
    if at and not _USER.fullmatch(user):
        raise BadTargetError(text, f"`{user}` is no user name" if user else "the user name before `@` is missing")
    host, port = _host_and_port(text, rest)
    if not host:
        raise BadTargetError(text, "the host is missing")
    if not is_ip(host) and not _HOST.fullmatch(host):
        raise BadTargetError(text, f"`{host}` is no host")
    return SshTarget(user or None, host, port)


def address_fault(address: str) -> str | None:
    """Why no agent can listen at this address or name; None if one can."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        if re.fullmatch(r"[\d.]+", address):
            return "it is neither an IPv4 address nor a name"
        if _DNS_NAME.fullmatch(address) and len(address) <= 253:
            return None
        return "it is neither an IP address nor a name"
    if not is_ip(address):
        return "its zone is no name of an interface"
    if parsed.is_unspecified:
        return "an agent listens at one address, not at all of them"
    if parsed.is_multicast:
        return "it is the address of a group of devices"
    return None


def is_ip(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address (with or without a zone)."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    # Python lets anything be a zone.
    _, percent, zone = text.partition("%")
    return not percent or _ZONE.fullmatch(zone) is not None


def suggest_name(hostname: str, taken: Collection[str]) -> str:
    """Name for a device from what it calls itself: `raspberrypi`, else `raspberrypi-2`, `raspberrypi-3` and so on.

    Args:
        hostname: Anything; what a name cannot hold becomes `-`.
        taken: Names that are not free.
    """
    base = re.sub(r"[^a-z0-9.]+", "-", hostname.lower()).strip("-.")[:LONGEST_NAME].strip("-.")
    if not base or base == "localhost" or is_ip(base):
        base = _NO_NAME
    name, number = base, 1
    while name in taken:
        number += 1
        tail = f"-{number}"
        name = base[: LONGEST_NAME - len(tail)].rstrip("-.") + tail
    return name


def _host_and_port(text: str, rest: str) -> tuple[str, int | None]:
    if is_ip(rest):
        return rest, None
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if not bracket or not is_ip(host) or (tail and not tail.startswith(":")):
            raise BadTargetError(text, "an IPv6 address stands in brackets, `[fe80::1]:22`")
        return host, _port(text, tail[1:]) if tail else None
    host, colon, port = rest.partition(":")
    return host, _port(text, port) if colon else None


def _port(text: str, port: str) -> int:
    if port.isascii() and port.isdigit() and 0 < int(port) < 65536:
        return int(port)
    raise BadTargetError(text, f"`{port}` is no port" if port else "the port after `:` is missing")
