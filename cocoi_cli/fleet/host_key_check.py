"""Judging the host key that one server shows, over the few connections that it may take.

asyncssh is given the keys to trust and refuses all others; a refused key is judged here when its
connection is gone, so that a person can take any time to compare fingerprints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.errors import DeviceError, HostKeyChangedError, UnknownHostKeyError, WrongDeviceError
from cocoi_cli.fleet.host_keys import (
    FAMILIES,
    PLAIN,
    SSH_PORT,
    Known,
    KnownHostsNotWritableError,
    RevokedHostKeyError,
    entry_name,
    fingerprint,
    look_up,
    record,
)
from cocoi_cli.fleet.ssh_settings import SshConfigError

if TYPE_CHECKING:
    import asyncssh

    from cocoi_cli.fleet.access import Access
    from cocoi_cli.fleet.ssh_settings import Settings


class HostKeyCheck:
    """The host key of one server: what to trust, and what to do about a key that is not trusted.

    Attributes:
        algorithms: What to ask the server for at the next connection; empty for asyncssh's choice.
    """

    def __init__(self, device: str, place: str, settings: Settings, access: Access, required: str | None) -> None:
        """Prepare for a server.

        Args:
            device: Name of the device, for errors.
            place: The server, for people.
            settings: Where host keys are listed, and under which name.
            access: Who may be asked.
            required: The only fingerprint that will do, as the fleet file has it; None if any known key will.
        """
        self._device = device
        self._place = place
        self._settings = settings
        self._access = access
        self._required = required
        self._approved: list[asyncssh.SSHKey] = []
        self._plain = False
        self._others: list[tuple[str, ...]] | None = None
        self._first: asyncssh.SSHKey | None = None
        self._take(settings.host, settings.port)
        chosen = settings.chosen or self._known.trusted((), required) or self._known.authorities
        self.algorithms: tuple[str, ...] = () if chosen else PLAIN

    def match(self, host: str, addr: str, port: int | None) -> tuple[Any, ...]:
        """What asyncssh is to trust; it calls this with the name that it has finally connected to."""
        del addr
        if host != self._settings.alias:
            self._take(host, port or SSH_PORT)
        known = self._known
        return (known.trusted(self._approved, self._required), known.authorities, known.revoked, *known.certificates)

    def other_algorithms(self) -> bool:
        """Whether another connection may get on where server and host had no algorithm in common."""
        if self._others is not None:
            return self._next_family()
        if self._plain or self.algorithms == PLAIN:
            return False
        # The server no longer has a key of the kind that is known: its other key is still to be shown.
        self._plain = True
        self.algorithms = PLAIN
        return True

    async def settle(self, key: asyncssh.SSHKey | None, *, authority: bool) -> None:
        """Judge a key that asyncssh has refused; the next connection goes on with the answer.

        Args:
            key: What was shown; None for a revoked key or a certificate.
            authority: A certificate of an unknown authority was shown.

        Raises:
            DeviceError: If the server is not to be trusted.
        """
        if key is None:
            if not authority or not self.other_algorithms():
                cause = f"{self._place} shows a host key that {self._lists()} revoke"
                raise RevokedHostKeyError(self._device, "connect", cause, entry=self._name)
            return
        if self._required is not None and fingerprint(key) != self._required:
            # Servers have several keys, and the fleet file may name another of them.
            if self._others is None:
                self._first = key
                kinds = {kind.decode() for kind in key.sig_algorithms}
                self._others = [family for family in FAMILIES if not kinds.intersection(family)]
            if not self._next_family():
                raise self.wrong(fingerprint(self._first or key))
            return
        await self._approve(key)
        self._approved.append(key)

    def wrong(self, found: str) -> DeviceError:
        """The error for a server whose key is not the one that the fleet file names."""
        known = [fingerprint(key) for key in (*self._known.keys, *self._known.loose)]
        if known and found not in known:
            return self._changed(found)
        cause = f"{self._place} shows host key {found}, and the fleet file says {self._required}"
        return WrongDeviceError(self._device, "connect", cause, expected=self._required, found=found, host=self._place)

    def exhausted(self) -> DeviceError | None:
        """The error if other keys were looked for and there were none; None if nothing was looked for."""
        return None if self._first is None else self.wrong(fingerprint(self._first))

    async def _approve(self, key: asyncssh.SSHKey) -> None:
        """Return if an untrusted key may be trusted from now on."""
        found = fingerprint(key)
        named = found == self._required
        rivals = [each for each in self._known.keys if not named or each.algorithm == key.algorithm]
        if rivals:
            raise self._changed(found)
        if not named and (self._name, found) not in self._access.approved:
            agreed = self._access.accept_new or await self._access.confirmed(self._device, found)
            if not agreed:
                said = "" if agreed is None else ", and it was not accepted"
                cause = f"{self._place} shows a host key for the first time{said}: {found}"
                raise UnknownHostKeyError(
                    self._device, "connect", cause, fingerprint=found, asked=agreed is not None, host=self._place
                )
        self._access.approved.add((self._name, found))
        self._record(key)

    def _record(self, key: asyncssh.SSHKey) -> None:
        path = self._settings.record
        if path is None:
            return
        try:
            record(path, self._name, key)
        except OSError as error:
            cause = f"the accepted host key cannot be written to `{path}`: {(error.strerror or str(error)).lower()}"
            raise KnownHostsNotWritableError(self._device, "connect", cause, path=str(path)) from error

    def _changed(self, found: str) -> HostKeyChangedError:
        expected = [fingerprint(key) for key in (*self._known.keys, *self._known.loose)]
        cause = f"{self._place} shows host key {found}, and {self._lists()} say {' or '.join(expected)}"
        return HostKeyChangedError(
            self._device, "connect", cause, expected=expected, found=found, entry=self._name, files=self._files()
        )

    def _next_family(self) -> bool:
        if not self._others:
            return False
        self.algorithms = self._others.pop(0)
        return True

    def _take(self, host: str, port: int) -> None:
        """Look the server up under the name that it has now."""
        self._name = entry_name(host, port, self._settings.alias)
        try:
            self._known: Known = look_up(self._settings.known_hosts, self._name)
        except OSError as error:
            cause = f"`{error.filename}` cannot be read: {(error.strerror or str(error)).lower()}"
            raise SshConfigError(self._device, "connect", cause, path=str(error.filename)) from error

    def _files(self) -> list[str]:
        return [str(path) for path in self._settings.known_hosts if path.exists()]

    def _lists(self) -> str:
        return " and ".join(f"`{path}`" for path in self._files()) or "the lists of host keys"
