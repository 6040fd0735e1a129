"""Where to connect and with what, as the user's own `ssh` would decide it.

asyncssh reads the configuration; here it is asked what it found, so that jump hosts, keys
and lists of host keys can be treated more strictly (nothing is ever unchecked) or more
kindly (a key file that is missing or locked does not break the others).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import asyncssh

from cocoi_cli.fleet.errors import DeviceError
from cocoi_cli.fleet.names import BadTargetError, parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.fleet.access import Access
    from cocoi_cli.fleet.names import SshTarget

DEFAULT_KNOWN_HOSTS: Final = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
GLOBAL_KNOWN_HOSTS: Final = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
DEFAULT_KEYS: Final = ("id_ed25519_sk", "id_ecdsa_sk", "id_ed448", "id_ed25519", "id_ecdsa", "id_rsa", "id_dsa")


class SshConfigError(DeviceError):
    """The user's ssh configuration cannot be followed; the cause names file and line where they are known."""

    code: ClassVar[str] = "ssh-config"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says about one target.

    Attributes:
        host: The name or address to connect to.
        port: Its port.
        user: Who logs in.
        alias: Name to look host keys up under, instead of `host`.
        jumps: Targets to go through, nearest first.
        proxy_command: A command to talk to instead of a socket.
        plain: Nothing in the configuration can change `host` any more.
        family: Address family of the socket, `AF_UNSPEC` for any.
        local_address: Address to connect from, with port 0; or None.
        timeout_s: Seconds until an answer is no longer waited for.
        key_files: Private keys that exist, among those configured, else in `~/.ssh`.
        agent: Whether a running agent is asked for keys.
        known_hosts: Files with host keys; those that do not exist hold none.
        record: Where an accepted host key is written; None if the user wants none kept.
        chosen: The user configured host key algorithms.
        options: Further arguments for `asyncssh.connect`.
    """

    host: str
    port: int
    user: str
    alias: str | None
    jumps: tuple[SshTarget, ...]
    proxy_command: str | None
    plain: bool
    family: int
    local_address: tuple[str, int] | None
    timeout_s: float
    key_files: tuple[Path, ...]
    agent: bool
    known_hosts: tuple[Path, ...]
    record: Path | None
    chosen: bool
    options: dict[str, Any]


async def resolve(target: SshTarget, access: Access) -> Settings:
    """Look a target up in the ssh configuration.

    Raises:
        ValueError: If the configuration cannot be followed; the message says where and why.
    """
    basic: dict[str, Any] = {
        "config": () if access.config is None else [str(path) for path in access.config],
        "username": () if target.user is None else target.user,
    }
    try:
        # Without keys and host keys: a file that is missing there must not matter.
        found = await asyncssh.SSHClientConnectionOptions.construct(
            host=target.host,
            port=() if target.port is None else target.port,
            client_keys=None,
            known_hosts=b"",
            **basic,
        )
    except (OSError, asyncssh.Error) as error:
        raise ValueError(str(error)) from error
    config = found.config
    proxy_command = config.get("ProxyCommand")
    named = _files(config.get("IdentityFile"))
    key_files = named or _files(DEFAULT_KEYS)
    known_hosts, record = _known_hosts(found, access)
    return Settings(
        host=found.host,
        port=found.port,
        user=found.username,
        alias=found.host_key_alias,
        jumps=_jumps(found.tunnel),
        proxy_command=str(proxy_command) if proxy_command else None,
        plain=not found.canonicalize_hostname and not config.has_match_final(),
        family=found.family,
        local_address=found.local_addr or None,
        timeout_s=found.connect_timeout or access.connect_timeout_s,
        key_files=key_files,
        agent=_has_agent(config.get("IdentityAgent", ())),
        known_hosts=known_hosts,
        record=record,
        chosen=config.get("HostKeyAlgorithms") is not None,
        options={
            **basic,
            "client_keys": _keys(key_files),
            "client_certs": [str(path) for path in _files(config.get("CertificateFile"))],
            # Only these of the agent's keys, if the user said so: servers end a login after a few wrong ones.
            "agent_identities": [str(path) for path in named] if named and config.get("IdentitiesOnly") else (),
            "ignore_encrypted": True,
            "proxy_command": None,  # ours: asyncssh takes redirections for arguments, and complaints for data
        },
    )


def locked_keys(files: Sequence[Path]) -> tuple[Path, ...]:
    """Those of some private key files that a passphrase protects."""
    locked = []
    for path in files:
        try:
            asyncssh.read_private_key(path)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            if "assphrase" in str(error):
                locked.append(path)
        except OSError:
            continue
    return tuple(locked)


def _files(names: object) -> tuple[Path, ...]:
    """Those of some configured files that exist; `ssh` overlooks the others too."""
    paths = [Path(name).expanduser() for name in cast("Sequence[str]", names or ())]
    return tuple(path for path in paths if path.is_file())


def _keys(files: Sequence[Path]) -> list[asyncssh.SSHKeyPair]:
    keys: list[asyncssh.SSHKeyPair] = []
    for path in files:
        try:
            keys += asyncssh.load_keypairs([str(path)], skip_public=True, ignore_encrypted=True)
        except (OSError, ValueError):
            continue  # unreadable or of an unknown kind: the other keys may do
    return keys


def _has_agent(configured: object) -> bool:
    path = os.environ.get("SSH_AUTH_SOCK") if configured == () else configured
    return bool(path) and Path(str(path)).expanduser().exists()


def _jumps(configured: object) -> tuple[SshTarget, ...]:
    if not isinstance(configured, str) or configured.lower() == "none":
        return ()
    try:
        return tuple(parse_target(each.strip().removeprefix("ssh://")) for each in configured.split(","))
    except BadTargetError as error:
        raise ValueError(f"ProxyJump: {error.message}") from error


def _known_hosts(found: asyncssh.SSHClientConnectionOptions, access: Access) -> tuple[tuple[Path, ...], Path | None]:
    """Files to read host keys from, and the one to write them to."""
    if access.known_hosts is not None:
        return (access.known_hosts,), access.known_hosts
    config = found.config
    names = cast("list[str]", config.get("UserKnownHostsFile", list(DEFAULT_KNOWN_HOSTS)))
    globals_ = cast("list[str]", config.get("GlobalKnownHostsFile", list(GLOBAL_KNOWN_HOSTS)))
    tokens = {"d": str(Path.home()), "h": found.host, "n": found.orig_host, "p": str(found.port), "r": found.username}
    tokens |= {"k": found.host_key_alias or found.host, "%": "%"}
    users = [_expanded(name, tokens) for name in names]
    return (*users, *(_expanded(name, tokens) for name in globals_)), users[0] if users else None


def _expanded(name: str, tokens: dict[str, str]) -> Path:
    with_tokens = re.sub(r"%(.)", lambda match: tokens.get(match[1], match[0]), name)
    return Path(os.path.expandvars(with_tokens)).expanduser()
