"""Host keys are always checked; what is accepted is written down once, in the user's own list."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet.access import Access
from cocoi_cli.fleet.errors import HostKeyChangedError, UnknownHostKeyError, WrongDeviceError
from cocoi_cli.fleet.host_keys import (
    KnownHostsNotWritableError,
    RevokedHostKeyError,
    entry_name,
    fingerprint,
    look_up,
    record,
)
from cocoi_cli.fleet.records import Device
from cocoi_cli.fleet.remote import connect
from tests.fleet.ssh_server import FakeDevice, asynchronous, fake_device


def key(kind: str = "ssh-ed25519") -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(kind)


def public(private: asyncssh.SSHKey) -> str:
    return " ".join(private.export_public_key("openssh").decode().split()[:2])


async def refused(pi: FakeDevice, access: Access | None = None, **changes: Any) -> CocoiError:
    with pytest.raises(CocoiError) as caught:
        await connect(pi.device(**changes), access or pi.access())
    assert pi.passwords == []
    assert pi.commands == []
    return caught.value


async def let_in(pi: FakeDevice, access: Access | None = None, **changes: Any) -> str:
    async with pi.connected(access, **changes) as remote:
        return remote.host_key


# --- against a server


@asynchronous
async def test_an_unknown_key_is_refused_with_its_fingerprint_and_nothing_is_written(tmp_path: Path) -> None:
    async with fake_device(tmp_path, known=False) as pi:
        error = await refused(pi)
        assert isinstance(error, UnknownHostKeyError)
        assert error.details["fingerprint"] == pi.fingerprint
        assert error.message == (
            f"`pi-1`: connect: `127.0.0.1:{pi.port}` shows a host key for the first time: {pi.fingerprint}"
        )
        assert not pi.known_hosts.exists()
        asked: list[tuple[str, str]] = []

        async def confirm(device: str, shown: str) -> bool:
            asked.append((device, shown))
            return False

        error = await refused(pi, pi.access(confirm_host_key=confirm))
        assert isinstance(error, UnknownHostKeyError)
        assert "and it was not accepted" in error.message
        assert asked == [("pi-1", pi.fingerprint)]
        assert not pi.known_hosts.exists()


@asynchronous
async def test_a_key_that_somebody_accepts_is_written_down_and_not_asked_for_again(tmp_path: Path) -> None:
    async with fake_device(tmp_path, known=False) as pi:
        asked = []

        def confirm(device: str, shown: str) -> bool:
            asked.append((device, shown))
            return True

        assert await let_in(pi, pi.access(confirm_host_key=confirm)) == pi.fingerprint
        assert await let_in(pi, pi.access(confirm_host_key=confirm)) == pi.fingerprint
        assert len(asked) == 1
        assert pi.known_hosts.read_text() == pi.known_line


@asynchronous
async def test_new_keys_can_be_accepted_without_asking_into_a_private_folder(tmp_path: Path) -> None:
    async with fake_device(tmp_path, known=False) as pi:
        access = pi.access(accept_new=True, known_hosts=tmp_path / "home" / ".ssh" / "known_hosts")
        await let_in(pi, access)
        assert access.known_hosts is not None
        assert access.known_hosts.stat().st_mode & 0o777 == 0o600
        assert access.known_hosts.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("accept_new", [False, True])
@asynchronous
async def test_a_key_that_changed_is_refused_whoever_agrees(tmp_path: Path, accept_new: bool) -> None:
    async with fake_device(tmp_path) as pi:
        other = key()
        pi.known_hosts.write_text(f"[127.0.0.1]:{pi.port} {public(other)}\n")
        before = pi.known_hosts.read_text()
        error = await refused(pi, pi.access(accept_new=accept_new, confirm_host_key=lambda *_: True))
        assert isinstance(error, HostKeyChangedError)
        assert error.details["expected"] == [fingerprint(other)]
        assert error.details["found"] == pi.fingerprint
        assert error.details["entry"] == f"[127.0.0.1]:{pi.port}"
        assert pi.fingerprint in error.message
        assert fingerprint(other) in error.message
        assert pi.known_hosts.read_text() == before


@asynchronous
async def test_a_key_of_another_kind_than_the_known_one_is_a_changed_key(tmp_path: Path) -> None:
    """The server has no key of the known kind any more: it must be shown which key it has instead."""
    async with fake_device(tmp_path) as pi:
        other = key("ecdsa-sha2-nistp256")
        pi.known_hosts.write_text(f"[127.0.0.1]:{pi.port} {public(other)}\n")
        error = await refused(pi, pi.access(accept_new=True))
        assert isinstance(error, HostKeyChangedError)
        assert (error.details["expected"], error.details["found"]) == ([fingerprint(other)], pi.fingerprint)


@asynchronous
async def test_a_revoked_key_is_refused_even_if_it_is_also_known(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        pi.known_hosts.write_text(f"{pi.known_line}@revoked * {public(pi.host_key)}\n")
        error = await refused(pi, pi.access(accept_new=True))
        assert isinstance(error, RevokedHostKeyError)


@asynchronous
async def test_hashed_names_and_aliases_are_found(tmp_path: Path) -> None:
    async with fake_device(tmp_path, known=False) as pi:
        salt = bytes(20)
        name = f"[127.0.0.1]:{pi.port}"
        hashed = base64.b64encode(hmac.new(salt, name.encode(), hashlib.sha1).digest()).decode()
        pi.known_hosts.write_text(f"|1|{base64.b64encode(salt).decode()}|{hashed} {public(pi.host_key)}\n")
        assert await let_in(pi) == pi.fingerprint
        pi.known_hosts.write_text(f"shelf-one {public(pi.host_key)}\n")
        pi.config.write_text(pi.config.read_text() + "  HostKeyAlias shelf-one\n")
        assert await let_in(pi) == pi.fingerprint
        pi.known_hosts.unlink()
        await let_in(pi, pi.access(accept_new=True))
        assert pi.known_hosts.read_text().startswith("shelf-one ssh-ed25519 ")


@asynchronous
async def test_the_configurations_own_lists_are_used_and_none_is_no_way_around(tmp_path: Path) -> None:
    async with fake_device(tmp_path, known=False) as pi:
        common, own = tmp_path / "common", tmp_path / "own"
        config = pi.config.read_text() + f"  UserKnownHostsFile {own}\n"
        pi.config.write_text(f"{config}  GlobalKnownHostsFile {common}\n")
        access = Access(config=[pi.config])
        assert isinstance(await refused(pi, access), UnknownHostKeyError)
        common.write_text(pi.known_line)
        assert await let_in(pi, access) == pi.fingerprint
        common.unlink()
        await let_in(pi, Access(config=[pi.config], accept_new=True))
        assert own.read_text() == pi.known_line
        pi.config.write_text(config.replace(str(own), "none") + "  GlobalKnownHostsFile none\n")
        assert isinstance(await refused(pi, Access(config=[pi.config])), UnknownHostKeyError)
        assert await let_in(pi, Access(config=[pi.config], accept_new=True)) == pi.fingerprint


@asynchronous
async def test_a_list_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    async with fake_device(tmp_path, known=False) as pi:
        (tmp_path / "file").write_text("")
        access = pi.access(accept_new=True, known_hosts=tmp_path / "file" / "known_hosts")
        error = await refused(pi, access)
        assert isinstance(error, KnownHostsNotWritableError)
        assert error.details["path"] == str(tmp_path / "file" / "known_hosts")


@asynchronous
async def test_devices_accepted_at_the_same_time_leave_one_line_each(tmp_path: Path) -> None:
    async with fake_device(tmp_path, "pi-1", known=False) as one, fake_device(tmp_path, "pi-2", known=False) as two:
        access = one.access(accept_new=True, config=[one.config, two.config])
        devices = [pi.device() for pi in (one, two, one, two, one, two)]
        remotes = await asyncio.gather(*(connect(device, access) for device in devices))
        for remote in remotes:
            await remote.aclose()
        assert sorted(one.known_hosts.read_text().splitlines(keepends=True)) == sorted([one.known_line, two.known_line])


# --- the key that the fleet file names


@asynchronous
async def test_the_fleet_file_vouches_for_its_keys(tmp_path: Path) -> None:
    """A second computer with an exported fleet has never seen the devices, and need not ask."""
    async with fake_device(tmp_path, known=False) as pi:
        assert await let_in(pi, host_key=pi.fingerprint) == pi.fingerprint
        assert pi.known_hosts.read_text() == pi.known_line


@pytest.mark.parametrize("known", [False, True])
@asynchronous
async def test_another_device_than_the_fleet_file_means_is_refused(tmp_path: Path, known: bool) -> None:
    async with fake_device(tmp_path, known=known) as pi:
        expected = fingerprint(key())
        error = await refused(pi, pi.access(accept_new=True), host_key=expected)
        assert isinstance(error, WrongDeviceError)
        assert (error.details["expected"], error.details["found"]) == (expected, pi.fingerprint)
        assert pi.known_hosts.exists() == known


@asynchronous
async def test_a_changed_key_is_told_as_changed_also_if_the_fleet_file_names_the_old_one(tmp_path: Path) -> None:
    async with fake_device(tmp_path, known=False) as pi:
        old = key()
        pi.known_hosts.write_text(f"[127.0.0.1]:{pi.port} {public(old)}\n")
        error = await refused(pi, pi.access(accept_new=True), host_key=fingerprint(old))
        assert isinstance(error, HostKeyChangedError)


@pytest.mark.parametrize("known", ["ssh-ed25519", "ssh-rsa", ""])
@asynchronous
async def test_the_fleet_file_may_name_any_of_a_servers_keys(tmp_path: Path, known: str) -> None:
    keys = [key(kind) for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")]
    async with fake_device(tmp_path, known=False, host_keys=keys) as pi:
        lines = [f"[127.0.0.1]:{pi.port} {public(each)}\n" for each in keys if each.get_algorithm() == known]
        pi.known_hosts.write_text("".join(lines))
        for each in keys:
            assert await let_in(pi, host_key=fingerprint(each)) == fingerprint(each)
        assert len(pi.known_hosts.read_text().splitlines()) == 3


@asynchronous
async def test_the_key_that_openssh_would_show_is_the_one_to_compare(tmp_path: Path) -> None:
    keys = [key(kind) for kind in ("ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519")]
    async with fake_device(tmp_path, known=False, host_keys=keys) as pi:
        assert (await refused(pi)).details["fingerprint"] == fingerprint(keys[2])


# --- certificates


@asynchronous
async def test_a_certified_host_is_trusted_through_its_authority_only(tmp_path: Path) -> None:
    authority, host_key = key(), key()
    certificate = authority.generate_host_certificate(host_key, "pi", principals=["127.0.0.1"])
    async with fake_device(tmp_path, known=False, host_keys=[host_key], host_certificates=[certificate]) as pi:
        pi.known_hosts.write_text(f"@cert-authority [127.0.0.1]:{pi.port} {public(authority)}\n")
        assert await let_in(pi) == pi.fingerprint
        wrong = fingerprint(key())
        with pytest.raises(WrongDeviceError):
            await connect(pi.device(host_key=wrong), pi.access())
        # Another authority says nothing about this host; its bare key may still be accepted.
        pi.known_hosts.write_text(f"@cert-authority [127.0.0.1]:{pi.port} {public(key())}\n")
        assert isinstance(await refused(pi), UnknownHostKeyError)
        assert await let_in(pi, pi.access(accept_new=True)) == pi.fingerprint


# --- lists of host keys


@pytest.mark.parametrize(
    ("host", "port", "alias", "name"),
    [
        ("192.168.1.11", 22, None, "192.168.1.11"),
        ("Pi-1.Local", 22, None, "pi-1.local"),
        ("pi-1", 2222, None, "[pi-1]:2222"),
        ("fe80::1%eth0", 22, None, "fe80::1%eth0"),
        ("fe80::1", 2222, None, "[fe80::1]:2222"),
        ("10.0.0.1", 2222, "Shelf", "Shelf"),
    ],
)
def test_hosts_are_listed_as_openssh_lists_them(host: str, port: int, alias: str | None, name: str) -> None:
    assert entry_name(host, port, alias) == name


def test_the_same_host_on_another_port_is_trusted_but_is_no_reason_to_complain(tmp_path: Path) -> None:
    here, there = key(), key()
    path = tmp_path / "known_hosts"
    path.write_text(f"pi {public(here)}\n[pi]:2222 {public(there)}\n[::1]:99 {public(here)}\n")
    found = look_up([path], "[pi]:2222")
    assert [fingerprint(each) for each in found.keys] == [fingerprint(there)]
    assert [fingerprint(each) for each in found.loose] == [fingerprint(here)]
    assert look_up([path], "[pi]:3333").keys == ()
    assert len(look_up([path], "[pi]:3333").loose) == 1
    assert len(look_up([path], "[::1]:99").keys) == 1
    assert look_up([path], "elsewhere") == look_up([], "elsewhere")


def test_lines_that_nobody_understands_do_not_hide_the_others(tmp_path: Path) -> None:
    mine = key()
    path = tmp_path / "known_hosts"
    lines = [b"lonely", b"@strange pi ssh-ed25519 AAAA", b"pi ssh-ed25519 %%%", b"|1|x|y pi", b"\xff\xfe", b"# pi"]
    path.write_bytes(b"\n".join([*lines, f"pi,other {public(mine)} comment".encode()]))
    assert [fingerprint(each) for each in look_up([path, tmp_path / "absent"], "pi").keys] == [fingerprint(mine)]


def test_a_key_is_appended_whole_and_once_also_after_a_cut_off_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "known_hosts"
    mine, other = key(), key()
    record(path, "pi", mine)
    record(path, "pi", mine)
    assert path.read_text() == f"pi {public(mine)}\n"
    path.write_text("# no end")
    record(path, "pi", mine)
    record(path, "[pi]:22222", mine)
    record(path, "pi", other)
    assert path.read_text() == (f"# no end\npi {public(mine)}\n[pi]:22222 {public(mine)}\npi {public(other)}\n")


def test_devices_without_a_list_have_no_known_key(tmp_path: Path) -> None:
    assert look_up([tmp_path / "absent"], "pi").trusted((), None) == ()
    assert Device("pi", "pi", "pi").host_key is None
