"""Discovery: a real responder on the loopback interface, and the comparison with the fleet."""

from __future__ import annotations

import asyncio
import socket

import pytest
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from cocoi_cli.fleet import discovery
from cocoi_cli.fleet.discovery import MdnsPortError, NoInterfaceError, NoMulticastError, discover
from cocoi_cli.fleet.inventory import read
from cocoi_cli.fleet.sightings import Found, Record, compare, merge

PATIENCE_S = 30.0  # only bounds a failure: the search ends as soon as everything has been heard


def loopback() -> str | None:
    """Name of the loopback interface, if announcements can be heard on it."""
    try:
        discovery.usable(["127.0.0.1"])
    except (MdnsPortError, NoMulticastError):
        return None
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)


def service(kind, name, host, address, **properties):
    return AsyncServiceInfo(
        f"{kind}.local.",
        f"{name}.{kind}.local.",
        addresses=[socket.inet_aton(address)],
        port=52600,
        properties=properties,
        server=f"{host}.local.",
    )


async def searched(announced, wanted):
    """What `discover` finds of announced services; ends once it has heard all `wanted` hosts with all kinds."""
    responder = AsyncZeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
    heard: dict[str, Found] = {}
    stop = asyncio.Event()

    def on_found(found):
        heard[found.host] = found
        if wanted == {host: each.kinds for host, each in heard.items()}:
            stop.set()

    try:
        for info in announced:
            # Nobody else is asked whether the names are free: that takes a second each, and is not what is tested.
            await (await responder.async_register_service(info, cooperating_responders=True))
        return await discover(
            seconds=PATIENCE_S,
            interface=loopback(),
            names=["raspberrypi.local", "raspberrypi-2.local", "nobody.local"],
            on_found=on_found,
            stop=stop,
        )
    finally:
        await responder.async_close()


@pytest.mark.skipif(loopback() is None, reason="no multicast on the loopback interface, or mDNS port not shared")
def test_announcements_and_names_are_heard():
    announced = [
        service("_cocoi._tcp", "cocoi on shelf", "raspberrypi-2", "127.0.0.12", id="shelf-2", version="0.2.0"),
        service("_ssh._tcp", "shelf", "raspberrypi-2", "127.0.0.12"),
        service("_workstation._tcp", "fresh", "fresh", "127.0.0.13"),
    ]
    wanted = {"raspberrypi-2.local": ("cocoi", "name", "ssh"), "fresh.local": ("workstation",)}
    found = asyncio.run(searched(announced, wanted))
    assert found == (
        Found("fresh.local", ("127.0.0.13",), ("workstation",), None, None, None),
        Found("raspberrypi-2.local", ("127.0.0.12",), ("cocoi", "name", "ssh"), "shelf-2", "0.2.0", 52600),
    )


def test_an_unknown_interface_is_told_with_those_there_are():
    with pytest.raises(NoInterfaceError) as caught:
        asyncio.run(discover(seconds=1, interface="wlan77"))
    assert caught.value.message.startswith("no network interface `wlan77` with an IPv4 address; there are: `")
    assert loopback() is None or f"`{loopback()}`" in caught.value.message
    assert (caught.value.code, caught.value.exit_status) == ("no-interface", 2)
    with pytest.raises(NoInterfaceError):
        discovery.interface_addresses("10.255.255.1")


def test_interfaces_go_by_name_or_address():
    assert discovery.interface_addresses("127.0.0.1") == ["127.0.0.1"]
    assert "127.0.0.1" not in discovery.interface_addresses(None)


def test_a_port_that_is_not_shared_is_told(monkeypatch):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 0))
        port = other.getsockname()[1]
        monkeypatch.setattr(discovery, "_PORT", port)
        with pytest.raises(MdnsPortError) as caught:
            asyncio.run(discover(seconds=1, interface="127.0.0.1"))
    assert caught.value.message == f"cannot listen for announcements on UDP port {port}: address already in use"


def test_no_multicast_anywhere_is_told(monkeypatch):
    monkeypatch.setattr(discovery, "_PORT", 0)
    with pytest.raises(NoMulticastError, match="no multicast on this machine: it has no IPv4 address besides"):
        discovery.usable([])
    with pytest.raises(NoMulticastError, match=r"no multicast on `192\.0\.2\.77`: "):
        discovery.usable(["192.0.2.77"])  # an address that is none of ours


def test_records_are_put_together_by_host():
    records = [
        Record("raspberrypi-10.local.", ("10.0.0.10",), "ssh", 22, {}),
        Record("raspberrypi.local.", ("fe80::1%eth0", "fd00::1"), "name", None, {}),
        Record("RaspberryPi.local.", ("10.0.0.1", "fd00::1"), "cocoi", 52601, {"id": "a", "version": None}),
        Record("raspberrypi-2.local.", ("10.0.0.2",), "name", None, {}),
        Record("gone.local.", (), "ssh", 22, {}),
    ]
    assert merge(records) == (
        Found("raspberrypi.local", ("10.0.0.1", "fd00::1", "fe80::1%eth0"), ("cocoi", "name"), "a", None, 52601),
        Found("raspberrypi-2.local", ("10.0.0.2",), ("name",), None, None, None),
        Found("raspberrypi-10.local", ("10.0.0.10",), ("ssh",), None, None, None),
    )
    assert [found.name for found in merge(records)] == ["raspberrypi", "raspberrypi-2", "raspberrypi-10"]


FLEET = """\
id = "f"
[devices.a]
ssh = "pi@10.0.0.1"
address = "10.0.0.1"
[devices.b]
ssh = "pi@b.local"
address = "10.0.0.2"
[devices.c]
ssh = "c"
address = "c.local"
[devices.d]
ssh = "d"
address = "fe80::4%eth0"
"""


def found(host, *addresses, agent=None):
    kinds = ("cocoi",) if agent else ("ssh",)
    return Found(host, addresses, kinds, agent, "0.2.0" if agent else None, 52600 if agent else None)


CASES = [
    (found("x.local", "10.0.0.1", agent="a"), "known", "a"),
    (found("x.local", "fd00::1", "10.0.0.1"), "known", "a"),
    (found("x.local", "10.0.0.9", agent="a"), "moved", "a"),
    (found("x.local", "10.0.0.9"), "new", None),
    (found("x.local", "10.0.0.9", agent="zebra"), "new", None),
    # The address of a device is another's now; its own agent says so.
    (found("x.local", "10.0.0.1", agent="b"), "moved", "b"),
    (found("x.local", "10.0.0.1", agent="zebra"), "new", None),
    # SSH follows the name of a device; its agent's address is the old one.
    (found("b.local", "10.0.0.9", agent="b"), "moved", "b"),
    (found("b.local", "10.0.0.9"), "known", "b"),
    (found("c.local", "10.0.0.9", agent="c"), "known", "c"),
    (found("other.local", "10.0.0.9", agent="c"), "new", None),
    (found("x.local", "fe80::4%wlan0"), "known", "d"),
]


@pytest.mark.parametrize(("one", "state", "name"), CASES, ids=range(len(CASES)))
def test_what_is_found_is_compared_with_the_fleet(tmp_path, one, state, name):
    (sighting,) = compare([one], read(FLEET, tmp_path / "f"))
    assert (sighting.state, sighting.device.name if sighting.device else None) == (state, name)


def test_of_several_that_claim_one_id_only_the_one_in_its_place_counts(tmp_path):
    inventory = read(FLEET, tmp_path / "f")
    both = [found("x.local", "10.0.0.1", agent="a"), found("y.local", "10.0.0.9", agent="a")]
    assert [each.state for each in compare(both, inventory)] == ["known", "new"]
    strangers = [found("x.local", "10.0.0.8", agent="a"), found("y.local", "10.0.0.9", agent="a")]
    assert [each.state for each in compare(strangers, inventory)] == ["new", "new"]


def test_without_a_fleet_everything_is_new():
    assert [each.state for each in compare([found("x.local", "10.0.0.1", agent="a")], None)] == ["new"]
