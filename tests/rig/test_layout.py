"""What a rig consists of, from the words of the command line."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from bench.lab.agents import fleet_text
from bench.lab.errors import RigError
from bench.lab.layout import Node, Rig, check_net, check_prefix, is_namespace_of, make_nodes, parse_cpu, rig_from
from cocoi_cli.fleet.inventory import read


@pytest.fixture
def rig() -> Rig:
    nodes = make_nodes(3, Node(0), ["2:cpu=27"])
    return Rig("lab", "10.9.8", nodes, 9.0, None, 940_000_000, 1 << 20, "none", "/usr/bin/python3")


def test_devices_are_alike_but_for_the_exceptions() -> None:
    nodes = make_nodes(4, Node(0, cpu=9), ["3:cpu=4.5,rate=50mbit,delay=3ms,loss=1%", "4:gflops=5", "3:cpu=none"])
    assert [node.name for node in nodes] == ["node-1", "node-2", "node-3", "node-4"]
    assert nodes[0] == Node(1, cpu=9)
    assert nodes[2] == Node(3, cpu=None, rate=50_000_000, delay_us=3000, loss=1.0)
    assert nodes[3].gflops == 5


def test_a_device_with_a_quota_of_its_own_has_no_speed_to_reach() -> None:
    (node,) = make_nodes(1, Node(0, gflops=10), ["1:cpu=50"])
    assert (node.cpu, node.gflops) == (50, None)


@pytest.mark.parametrize(
    ("count", "exception", "message"),
    [
        (0, "1:cpu=9", "1 to 240 devices, not 0"),
        (241, "1:cpu=9", "not 241"),
        (3, "4:cpu=9", "no device `4`"),
        (3, "x:cpu=9", "no device `x`"),
        (3, "1:speed=9", "no setting `speed`"),
        (3, "1", "no setting ``"),
        (3, "1:cpu=0", "`0` is no share of a core"),
        (3, "1:rate=fast", "`fast` is no rate"),
    ],
)
def test_what_no_device_can_be(count: int, exception: str, message: str) -> None:
    with pytest.raises(RigError, match=message):
        make_nodes(count, Node(0), [exception])


def test_a_share_of_a_core_or_none() -> None:
    assert (parse_cpu("9"), parse_cpu("4.5%"), parse_cpu("none")) == (9, 4.5, None)


def test_names_and_addresses(rig: Rig) -> None:
    assert [rig.address(node) for node in (None, *rig.nodes)] == ["10.9.8.1", "10.9.8.11", "10.9.8.12", "10.9.8.13"]
    assert rig.node("node-2") is rig.node("2") is rig.nodes[1]
    with pytest.raises(RigError, match="no device `pi-2`"):
        rig.node("pi-2")


def test_a_rig_knows_its_own_namespaces_and_no_others(rig: Rig) -> None:
    own = [rig.hub, rig.namespace(None), *map(rig.namespace, rig.nodes)]
    assert all(is_namespace_of("lab", name) for name in own)
    assert not any(is_namespace_of("lab", name) for name in ("lab2-hub", "lab-node-", "lab-hub2", "xlab-hub", "lab-m"))


def test_the_record_survives_its_file(rig: Rig) -> None:
    assert rig_from(json.loads(json.dumps(asdict(rig)))) == rig


@pytest.mark.parametrize("security", ["none", "tls"])
def test_the_fleet_file_is_one(rig: Rig, security: str) -> None:
    made = Rig(**{**asdict(rig), "nodes": rig.nodes, "security": security})
    inventory = read(fleet_text(made), made.fleet_file)
    assert inventory.security == security
    assert [device.name for device in inventory.devices] == list(made.names)
    assert [device.address for device in inventory.devices] == [made.address(node) for node in made.nodes]


@pytest.mark.parametrize("text", ["", "Lab", "1lab", "lab-1", "a" * 17, "../x"])
def test_what_is_no_prefix(text: str) -> None:
    with pytest.raises(RigError, match="is no prefix"):
        check_prefix(text)


@pytest.mark.parametrize("text", ["10.79", "10.79.0.0", "10.79.256", "x.y.z"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(RigError, match="is no network"):
        check_net(text)
