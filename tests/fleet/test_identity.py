"""Who a device is, asked over a real SSH connection with nothing but `sh`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cocoi_cli.fleet.contact import each
from cocoi_cli.fleet.identity import agent_address, copies, identify
from cocoi_cli.fleet.records import Device
from tests.fleet.ssh_server import fake_device


def test_a_device_is_asked_over_ssh(tmp_path):
    async def ask():
        async with fake_device(tmp_path) as pi:
            stages = []
            results = await each([pi.device()], pi.access(), identify, on_stage=lambda *stage: stages.append(stage))
            (name,) = results
            assert [stage for _, stage in stages] == ["connect", "identify", "done"]
            return results[name]

    answer = asyncio.run(ask())
    machine_id = Path("/etc/machine-id")
    assert answer.machine_id == (machine_id.read_text().strip() or None if machine_id.exists() else None)
    assert answer.hostname
    assert "\n" not in answer.hostname
    assert answer.host_key.startswith("SHA256:")
    assert answer.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("target", "address"), [("pi@localhost", "localhost"), ("pi@an-alias-of-mine.invalid", "127.0.0.1")]
)
def test_a_name_that_leads_to_the_device_stays_and_an_alias_does_not(target, address):
    assert asyncio.run(agent_address(target, "127.0.0.1")) == address


def test_half_of_an_identity_in_common_is_told():
    def device(name, machine_id, host_key):
        return Device(name, name, name, machine_id=machine_id, host_key=host_key)

    one = device("one", "1", "k1")
    assert copies(device("two", "1", "k2"), [one]) == ["`two` has the machine-id of `one` but another host key"]
    assert copies(device("two", "2", "k1"), [one]) == ["`two` has the host key of `one` but another machine-id"]
    assert copies(device("two", None, None), [device("three", None, None)]) == []
    assert copies(device("two", "2", "k2"), [one]) == []
