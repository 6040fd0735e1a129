"""Logins and passwords that do not work: said in the project's form, and nothing half-installed remains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet_lab.fleet import Fleet
from tests.fleet_lab.host import told
from tests.fleet_lab.lab import PASSWORD, SPARE
from tests.fleet_lab.listing import Listing


@pytest.fixture
def asks_for_password(single: Fleet, untouched: Listing) -> Iterator[None]:
    """sudo on the device wants a password."""
    del untouched
    single.lab.forbid_sudo(SPARE)
    yield
    single.lab.allow_sudo(SPARE)


@pytest.fixture
def no_keys(single: Fleet) -> Iterator[None]:
    """The device lets `pi` in with the password only."""
    single.lab.root(SPARE, "mv ~pi/.ssh/authorized_keys ~pi/.ssh/kept")
    yield
    single.lab.root(SPARE, "mv ~pi/.ssh/kept ~pi/.ssh/authorized_keys")


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def wrong_file(tmp_path: Path) -> Path:
    path = tmp_path / "wrong"
    path.write_text("pi\n")
    path.chmod(0o600)
    return path


def test_three_wrong_sudo_passwords_end_it(single: Fleet, asks_for_password: None):
    del asks_for_password
    status, screen = single.host.terminal("deploy", "--yes", answers=[("assword", "mistyped")] * 3)
    assert status == 4, screen
    assert "error:" in screen
    assert "Traceback" not in screen
    assert "mistyped" not in screen


def test_a_sudo_password_is_needed_where_nobody_can_be_asked(single: Fleet, asks_for_password: None):
    del asks_for_password
    assert "sudo" in told(single.host.cocoi("deploy", "--yes"), 4)


def test_a_wrong_sudo_password_from_a_file_is_refused(single: Fleet, asks_for_password: None, wrong_file: Path):
    del asks_for_password
    assert "sudo" in told(single.host.cocoi("deploy", "--yes", "--sudo-password-file", wrong_file), 4)


def test_the_right_sudo_password_is_asked_once_and_never_written(
    single: Fleet, asks_for_password: None, password_file: Path
):
    del asks_for_password
    status, screen = single.host.terminal("deploy", "--yes", answers=[("assword", PASSWORD)])
    assert status == 0, screen
    assert screen.count("assword") == 1, screen
    assert PASSWORD not in screen
    assert PASSWORD not in single.lab.root(SPARE, "journalctl -o cat --since=-300s")
    found = [path for path in single.host.home.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert found == []
    single.host.cocoi("uninstall", "--yes", "--sudo-password-file", password_file).ok()


def test_a_device_with_a_password_only(
    single: Fleet, no_keys: None, password_file: Path, wrong_file: Path, tmp_path: Path
):
    del no_keys
    other = Fleet(single.lab, single.lab.host("password-only"))
    add = ["fleet", "add", single.lab.target(SPARE), "--accept-new"]
    told(other.host.cocoi(*add), 4)
    told(other.host.cocoi(*add, "--password-file", wrong_file), 4)
    told(other.host.cocoi(*add, "--password-file", tmp_path / "absent"), 2)
    assert other.devices() == {}
    other.host.cocoi(*add, "--password-file", password_file).ok()
    assert len(other.devices()) == 1
    other.host.cocoi("profile", "--password-file", password_file).ok()


def test_an_unknown_host_key_needs_a_yes(single: Fleet):
    other = Fleet(single.lab, single.lab.host("careful"))
    text = told(other.host.cocoi("fleet", "add", single.lab.target(SPARE)), 4)
    assert "SHA256:" in text
    assert other.devices() == {}
    status, screen = other.host.terminal("fleet", "add", single.lab.target(SPARE), answers=[("[y/N]", "no")])
    assert status != 0, screen
    assert other.devices() == {}
    status, screen = other.host.terminal("fleet", "add", single.lab.target(SPARE), answers=[("[y/N]", "yes")])
    assert status == 0, screen
    assert len(other.devices()) == 1
    assert (other.host.home / ".ssh" / "known_hosts").read_text()
