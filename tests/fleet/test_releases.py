from __future__ import annotations

from pathlib import Path

from cocoi_cli.fleet.agent_wheel import agent_wheel
from cocoi_cli.fleet.facts_tree import device_facts
from cocoi_cli.fleet.records import Device
from cocoi_cli.fleet.releases import LEAST_TENSORS, MOST_TENSORS, release, settings, tensor_bytes
from cocoi_cli.fleet.targets import Target
from cocoi_cli.fleet.wheelhouse import WheelFile, Wheelhouse
from tests.fleet.fake_install import FACTS

PI = Device("pi", "pi@127.0.0.1", "pi.local", port=50001)


def house(numpy: str = "0", pip: str = "1") -> Wheelhouse:
    files = (
        WheelFile(Path("n"), "numpy-2-py3-none-any.whl", 10, numpy),
        WheelFile(Path("p"), "pip-26-py3-none-any.whl", 20, pip),
    )
    return Wheelhouse(Target((3, 11), "aarch64", (2, 36)), files, f"numpy==2 --hash=sha256:{numpy}\n")


def test_a_version_is_named_by_everything_that_is_installed():
    agent = agent_wheel()
    names = {
        release(house(), agent, "unit").id,
        release(house(numpy="2"), agent, "unit").id,
        release(house(pip="2"), agent, "unit").id,
        release(house(), agent, "another unit").id,
    }
    assert len(names) == 4
    assert release(house(), agent, "unit").id in names


def test_online_devices_are_sent_pip_and_the_agent_only():
    made = release(house(), agent_wheel(), "unit")
    assert len(made.sent(online=False)) == 3
    sent = [entry.name.split("-")[0] for entry, _ in made.sent(online=True)]
    assert sent == ["pip", "cocoi_agent"]
    assert list(made.plan("/usr/bin/python3", online=True).wheels) == [each.name for each, _ in made.sent(online=True)]


def test_the_agent_listens_on_one_address_of_one_interface():
    facts = device_facts(FACTS, asked=0.0, answered=0.0)
    env = settings(PI, facts, "127.0.0.1", "tls")
    assert (env["COCOI_HOST"], env["COCOI_INTERFACE"], env["COCOI_PORT"]) == ("127.0.0.1", "eth0", "50001")
    assert settings(PI, facts, "10.0.0.9", "tls")["COCOI_INTERFACE"] == ""


def test_tensors_get_a_quarter_of_the_memory_within_bounds():
    assert tensor_bytes(None) == tensor_bytes(0) == LEAST_TENSORS
    assert tensor_bytes(2 << 30) == 512 << 20
    assert tensor_bytes(64 << 30) == MOST_TENSORS
