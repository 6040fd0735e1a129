"""Sockets that listen: before the address exists, and after it has changed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cocoi_agent.listening import interface_addresses, is_numeric, moved_to, open_listeners
from tests.agent.processes import SERVICE, WAIT_S, Manager, Start, line_with

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="freebind and interface lists are Linux's")


@pytest.mark.parametrize(
    ("bound", "found", "new"),
    [
        ("192.0.2.1", ["192.0.2.1"], None),
        ("192.0.2.1", ["192.0.2.7", "192.0.2.1"], None),
        ("192.0.2.1", [], None),
        ("192.0.2.1", ["192.0.2.7"], "192.0.2.7"),
        ("192.0.2.1", ["169.254.3.4"], None),
        ("192.0.2.1", ["169.254.3.4", "192.0.2.7", "192.0.2.8"], "192.0.2.7"),
        ("169.254.1.1", ["169.254.3.4"], "169.254.3.4"),
        ("0.0.0.0", ["192.0.2.7"], None),  # noqa: S104 - nothing is bound
        ("2001:db8::1", ["192.0.2.7"], None),
        ("fe80::1%eth0", ["192.0.2.7"], None),
    ],
)
def test_where_to_listen_after_a_change(bound: str, found: list[str], new: str | None) -> None:
    assert moved_to(bound, found) == new


@needs_linux
def test_addresses_of_an_interface() -> None:
    assert interface_addresses("lo") == ["127.0.0.1"]
    assert interface_addresses("absent0") == []


def test_what_counts_as_an_address() -> None:
    assert [is_numeric(host) for host in ("192.0.2.1", "::1", "fe80::1%eth0", "localhost", "", "pi-3.local")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


@needs_linux
def test_an_address_that_is_not_there_yet_is_bound_only_where_asked_for() -> None:
    with pytest.raises(OSError, match="assign requested address"):
        open_listeners("203.0.113.1", 0)
    (early,) = open_listeners("203.0.113.1", 0, freebind=True)
    with early:
        assert early.getsockname()[0] == "203.0.113.1"


@needs_linux
@pytest.mark.skipif(not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists(), reason="there is no IPv6 here")
def test_an_ipv6_address_that_is_not_there_yet() -> None:
    (early,) = open_listeners("2001:db8::1", 0, freebind=True)
    with early:
        assert early.getsockname()[0] == "2001:db8::1"


def test_a_name_is_bound_wherever_the_machine_has_it() -> None:
    opened = open_listeners("localhost", 0)
    assert {sock.getsockname()[0] for sock in opened} <= {"127.0.0.1", "::1"}
    assert opened
    for sock in opened:
        sock.close()
    with pytest.raises(socket.gaierror):
        open_listeners("no such name.invalid", 0, freebind=True)


def listening(pid: int) -> list[str]:
    """The IPv4 addresses that sockets of a process's network namespace listen on."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [socket.inet_ntoa(bytes.fromhex(row[1].partition(":")[0])[::-1]) for row in rows if row[3] == "0A"]


@needs_linux
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip") or sys.byteorder != "little",
    reason="a network namespace of its own needs root, unshare and ip",
)
def test_an_agent_starts_before_its_network_and_follows_the_lease(start: Start, manager: Manager) -> None:
    options = ["--security", "none", "--host", "192.0.2.1", "--interface", "lo"]
    command = ["unshare", "--net", *SERVICE, *options]
    agent = start(command, environment=manager.environment())
    assert line_with(agent, " listens on ").startswith("pi-7 listens on 192.0.2.1:")
    manager.until("READY=1")

    def ip(*words: str) -> None:
        inside = ["nsenter", "--net", "-t", str(agent.pid)]
        subprocess.run([*inside, "ip", "addr", *words, "dev", "lo"], check=True, timeout=WAIT_S)
        manager.until("WATCHDOG=1", 3)  # it has looked since

    ip("add", "192.0.2.1/32")
    ip("add", "192.0.2.9/32")
    assert listening(agent.pid) == ["192.0.2.1"]
    ip("del", "192.0.2.1/32")
    assert "lo has the address 192.0.2.9 and no more 192.0.2.1: listening on 192.0.2.9:" in line_with(agent, "lo has")
    assert listening(agent.pid) == ["192.0.2.9"]
    ip("del", "192.0.2.9/32")
    assert listening(agent.pid) == ["192.0.2.9"]
    ip("add", "192.0.2.1/32")
    assert listening(agent.pid) == ["192.0.2.1"]
    assert agent.poll() is None
