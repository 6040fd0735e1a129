"""Getting in: connect, check the host key, log in; through jump hosts if need be.

A login is a few attempts, because whatever has to be asked of a person is asked between them,
while no connection waits: the first tells which host key is shown, or that keys alone do not let us
in. A password is sent only to a server whose host key has been found right.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncssh

from cocoi_cli.fleet import ssh_failures
from cocoi_cli.fleet.access import NobodyToAskError, Secret, WrongPasswordsError
from cocoi_cli.fleet.dial import dial
from cocoi_cli.fleet.errors import AuthenticationError, PasswordNeededError
from cocoi_cli.fleet.host_key_check import HostKeyCheck
from cocoi_cli.fleet.host_keys import fingerprint
from cocoi_cli.fleet.names import parse_target
from cocoi_cli.fleet.proxy import Proxy
from cocoi_cli.fleet.ssh_client import Client
from cocoi_cli.fleet.ssh_settings import SshConfigError, locked_keys, resolve

if TYPE_CHECKING:
    import socket

    from cocoi_cli.fleet.access import Access
    from cocoi_cli.fleet.errors import DeviceError
    from cocoi_cli.fleet.names import SshTarget
    from cocoi_cli.fleet.records import Device
    from cocoi_cli.fleet.ssh_settings import Settings

Connection = asyncssh.SSHClientConnection

KEEPALIVE_S: Final = 5
KEEPALIVES: Final = 3
"""A device that has said nothing for `KEEPALIVES * KEEPALIVE_S` seconds is gone."""

LOGIN_EXTRA_S: Final = 20.0  # beyond the connect timeout, once TCP stands: a busy Pi takes seconds to log in
MOST_JUMPS: Final = 8  # more can only be a configuration that jumps in circles

# A password first: servers end a login after a few keys that do not fit.
_PASSWORD_FIRST: Final = ("keyboard-interactive", "password", "publickey")
_TOO_MANY: Final = "Too many authentication failures"  # how OpenSSH ends such a login


@dataclass(frozen=True, slots=True)
class Opened:
    """A device that let us in.

    Attributes:
        connection: To the device.
        client: Knows why the connection ended, once it has; closes it.
        hops: The same for jump hosts, nearest first; closed after it, in reverse.
        address: Of the device as far as it can be seen from here, else the name that its jump host knows.
        user: Who is logged in.
        host_key: Fingerprint of the host key that the device has shown.
        password: What opened it, if that was a password; very often the one that `sudo` wants, too.
    """

    connection: Connection
    client: Client
    hops: tuple[Client, ...]
    address: str
    user: str
    host_key: str
    password: Secret | None


async def open_device(device: Device, access: Access) -> Opened:
    """Log in on a device.

    Raises:
        DeviceError: One of `cocoi_cli.fleet.errors`, `ssh_settings` or `host_keys`, with stage `connect`.
        BadTargetError: If `device.ssh` is no target.
    """
    target = parse_target(device.ssh)
    hops: list[Client] = []
    try:
        login = await _approached(device, access, target, hops, 0)
        client, password = await login.log_in(_tunnel(hops))
        hops.append(client)
        connection = _connection(client)
        found = login.checked_again(connection)
    except BaseException:
        for hop in reversed(hops):
            await hop.aclose()
        raise
    hops.pop()
    peer = None if hops or client.proxy else connection.get_extra_info("peername")
    address = str(peer[0]) if peer else login.settings.host
    return Opened(connection, client, tuple(hops), address, login.settings.user, found, password)


async def _approached(device: Device, access: Access, target: SshTarget, hops: list[Client], depth: int) -> _Login:
    """Look a target up and log in on its jump hosts, which are added to `hops`."""
    if depth > MOST_JUMPS:
        cause = f"the ssh configuration jumps in circles at `{target.host}`"
        raise SshConfigError(device.name, "connect", cause, host=target.host)
    try:
        settings = await resolve(target, access)
    except ValueError as error:
        raise SshConfigError(device.name, "connect", f"the ssh configuration cannot be followed: {error}") from error
    if not hops:  # jump hosts of jump hosts count for the first only, as with `ssh -J`
        for jump in settings.jumps:
            login = await _approached(device, access, jump, hops, depth + 1)
            client, _ = await login.log_in(_tunnel(hops))
            hops.append(client)
    return _Login(device, access, target, settings, is_device=depth == 0)


def _connection(client: Client) -> Connection:
    assert client.connection is not None  # noqa: S101 - it has let us in
    return client.connection


def _tunnel(hops: list[Client]) -> Connection | None:
    return _connection(hops[-1]) if hops else None


class _Login:
    """Getting in at one server: the device, or a jump host on the way to it."""

    def __init__(
        self, device: Device, access: Access, target: SshTarget, settings: Settings, *, is_device: bool
    ) -> None:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.settings = settings
        self._device = device.name
        self._access = access
        self._target = target
        through = " (through the ProxyCommand)" if settings.proxy_command else ""
        self._place = f"{'' if is_device else 'the jump host '}`{host}:{settings.port}`{through}"
        self._required = device.host_key if is_device else None
        self.host_key = HostKeyCheck(device.name, self._place, settings, access, self._required)

    async def log_in(self, tunnel: Connection | None) -> tuple[Client, Secret | None]:
        """Log in with keys, else with a password; returns the password, if that did it.

        Raises:
            DeviceError: As `open_device`.
        """
        client = await self._attempt(tunnel, None)
        if not client.denied:
            return client, None
        if not client.methods:
            raise self._denied(client, 0)
        refused = 0

        async def works(secret: Secret) -> Client | None:
            nonlocal refused
            attempt = await self._attempt(tunnel, secret)
            if not attempt.denied:
                return attempt
            if attempt.expired or not attempt.sent:
                raise self._denied(attempt, refused)
            refused += 1
            return None

        try:
            secret, client = await self._access.passwords.find(
                "ssh", f"password of `{self.settings.user}` at {self._place}", works
            )
        except WrongPasswordsError:
            raise self._denied(client, refused) from None
        except NobodyToAskError:
            cause = f"{self._place} takes a password of `{self.settings.user}`, and nobody can be asked for it"
            raise PasswordNeededError(self._device, "connect", cause, what="ssh", tried=self._tried()) from None
        return client, secret

    def checked_again(self, connection: Connection) -> str:
        """The fingerprint of the host key; a certified one has not been compared with the fleet file's yet.

        Raises:
            WrongDeviceError, HostKeyChangedError: If it is not that; the connection is then closed.
        """
        key = connection.get_server_host_key()
        found = "" if key is None else fingerprint(key)
        if self._required is not None and found != self._required:
            connection.abort()
            raise self.host_key.wrong(found)
        return found

    async def _attempt(self, tunnel: Connection | None, password: Secret | None) -> Client:
        """Connect until the host key is settled; the client that is returned was let in, or denied."""
        while True:
            clock = asyncio.timeout(self.settings.timeout_s)
            client = Client(password, lambda clock=clock: self._more_time(clock))  # type: ignore[misc]  # bound now
            try:
                # The gate first: waiting for others is not the server's silence.
                async with self._access.gate(self.settings.host, self.settings.port), clock:
                    await self._connect(client, tunnel, password)
            except asyncssh.HostKeyNotVerifiable:
                await self.host_key.settle(client.shown, authority=client.authority)
                continue
            except asyncssh.KeyExchangeFailed as error:
                if self.host_key.other_algorithms():
                    continue
                raise self.host_key.exhausted() or self._unreachable(client, error) from error
            except asyncssh.PermissionDenied:
                client.denied = True
            except TimeoutError as error:
                if not clock.expired():
                    raise self._unreachable(client, error) from error
                seconds = self.settings.timeout_s + (LOGIN_EXTRA_S if client.reached else 0)
                raise ssh_failures.silent(self._device, self._place, seconds, connected=client.reached) from error
            except (asyncssh.Error, OSError) as error:
                if _TOO_MANY not in str(error):
                    raise self._unreachable(client, error) from error
                client.denied = True
                client.methods.add("password")  # perhaps: the login ended before it came to that
            except ValueError as error:
                cause = f"the ssh configuration cannot be followed: {error}"
                raise SshConfigError(self._device, "connect", cause) from error
            return client

    async def _connect(self, client: Client, tunnel: Connection | None, password: Secret | None) -> None:
        settings = self.settings
        direct: socket.socket | None = None
        if tunnel is None and settings.proxy_command is not None:
            client.proxy, direct = await Proxy.start(settings.proxy_command)
        elif tunnel is None and settings.plain:
            direct = await dial(settings.host, settings.port, settings.family, settings.local_address)
        try:
            await asyncssh.connect(
                self._target.host,
                () if self._target.port is None else self._target.port,
                sock=direct,
                tunnel=tunnel,
                client_factory=lambda: client,
                known_hosts=self.host_key.match,
                server_host_key_algs=self.host_key.algorithms,
                preferred_auth=() if password is None else _PASSWORD_FIRST,
                keepalive_interval=KEEPALIVE_S,
                keepalive_count_max=KEEPALIVES,
                connect_timeout=None,
                agent_forwarding=False,  # whatever the configuration says: no device of ours needs the user's agent
                x11_forwarding=False,
                **settings.options,
            )
        except BaseException:
            if direct is not None and client.connection is None:
                direct.close()
            if client.proxy is not None:
                await client.proxy.aclose()
            raise

    def _more_time(self, clock: asyncio.Timeout) -> None:
        seconds = self.settings.timeout_s + LOGIN_EXTRA_S
        clock.reschedule(asyncio.get_running_loop().time() + seconds)

    def _unreachable(self, client: Client, error: Exception) -> DeviceError:
        words = "" if client.proxy is None else client.proxy.last_words()
        return ssh_failures.unreachable(self._device, self._place, error, greeted=client.greeted, words=words)

    def _denied(self, client: Client, refused: int) -> AuthenticationError:
        """The error for a login that failed for good, after some passwords were refused."""
        user = self.settings.user
        tried = self._tried()
        if client.expired:
            cause = f"the password of `{user}` at {self._place} has expired and must be changed there first"
        elif client.methods and not client.sent and refused == 0 and client.password_given:
            cause = f"{self._place} asks `{user}` for more than a password"
        else:
            passwords = [] if refused == 0 else ["a password" if refused == 1 else f"{refused} passwords"]
            what = ", ".join(f"`{each}`" if each.startswith(("~", "/")) else each for each in tried + passwords)
            cause = f"{self._place} does not let `{user}` in; tried: {what or 'nothing, for want of a key'}"
        locked = [str(path) for path in locked_keys(self.settings.key_files)]
        if locked:
            cause += f"; a passphrase locks {' and '.join(f'`{each}`' for each in locked)}"
        return AuthenticationError(
            self._device, "connect", cause, user=user, host=self._place, tried=tried, passwords=refused, locked=locked
        )

    def _tried(self) -> list[str]:
        agent = ["the ssh agent"] if self.settings.agent else []
        locked = locked_keys(self.settings.key_files)
        return agent + [str(path) for path in self.settings.key_files if path not in locked]
