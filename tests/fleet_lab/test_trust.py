"""Only holders of the fleet's keys talk to a deployed agent."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cocoi_cli.runtime.trust import Identity, make_identity
from tests.fleet_lab.fleet import Fleet
from tests.fleet_lab.lab import FLEET
from tests.fleet_lab.strangers import HELLO, host_identity, record, talk
from tests.fleet_lab.waiting import until

DEVICE = 1


@pytest.fixture
def plain(fleet: Fleet) -> Iterator[socket.socket]:
    """A TCP connection to an agent."""
    with fleet.lab.connect(DEVICE) as connection:
        yield connection


def test_the_fleets_own_host_is_welcome(fleet: Fleet):
    assert b"welcome" in talk(fleet, DEVICE, host_identity(fleet))


@pytest.mark.parametrize("data", [b"GET / HTTP/1.0\r\n\r\n", HELLO, b"\0" * 100_000, b"\x16\x03\x01\x00\x05hello"])
def test_a_client_without_tls_gets_no_answer(plain: socket.socket, data: bytes):
    try:
        plain.sendall(data)
        answer = plain.recv(1 << 16)
    except ConnectionError:
        answer = b""
    # A TLS alert is all that may come.
    assert answer == b"" or answer[0] == 0x15, answer


def test_a_client_without_a_certificate_is_refused(fleet: Fleet):
    assert talk(fleet, DEVICE, None) == b""


def test_a_client_with_another_certificate_is_refused(fleet: Fleet, tmp_path: Path):
    assert talk(fleet, DEVICE, make_identity(tmp_path, "host")) == b""


def test_an_agents_own_certificate_opens_no_other_agent(fleet: Fleet):
    agents = fleet.host.data / "agents"
    for name in fleet.devices():
        assert talk(fleet, DEVICE, Identity(agents / f"{name}.crt", agents / f"{name}.key")) == b"", name


def test_a_recorded_session_cannot_be_played_again(fleet: Fleet):
    recorded, answer = record(fleet, DEVICE, host_identity(fleet))
    assert b"welcome" in answer
    with fleet.lab.connect(DEVICE) as connection:
        connection.sendall(recorded)
        heard = b""
        try:
            while more := connection.recv(1 << 16):
                heard += more
        except ConnectionError:
            pass
    # What the agent says is its own handshake and a refusal: nothing of it is readable, and it hangs up.
    assert b"welcome" not in heard
    refusals = fleet.lab.root(DEVICE, "journalctl -u cocoi-agent -o cat --since=-60s -p warning")
    assert re.search(r"refus|TLS|handshake", refusals), refusals


def test_strangers_are_in_the_journal(fleet: Fleet, tmp_path: Path):
    talk(fleet, DEVICE, make_identity(tmp_path, "host"))
    look = "journalctl -u cocoi-agent -o cat --since=-60s -p warning"
    until(lambda: fleet.lab.address(0)[:-2] in fleet.lab.root(DEVICE, look), "a line about the stranger")


def test_agents_listen_at_their_own_address_only(fleet: Fleet):
    for device in FLEET:
        assert fleet.lab.listens(device) == [fleet.lab.address(device)]


def test_keys_are_for_their_owners_alone(fleet: Fleet):
    data = fleet.host.data
    assert data.stat().st_mode & 0o777 == 0o700
    keys = list(data.rglob("*.key"))
    assert len(keys) == 1 + len(FLEET)
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    for device in FLEET:
        found = fleet.lab.root(
            device, "find /etc/cocoi -name '*.key' -printf '%m %U %p\\n'; stat -c '%a %u' /etc/cocoi"
        )
        assert all(line.startswith(("600 0", "700 0")) for line in found.splitlines()), found
        assert ".key" in found
        open_to_others = fleet.lab.root(
            device, "find / -xdev -name 'agent.key' -perm /077; find /run -name agent.key -perm /077"
        )
        assert open_to_others == ""


def test_after_all_this_the_fleet_serves(fleet: Fleet):
    # One inference may do without the slowest of them: k answers are enough.
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()), "every device serves")
