"""`cocoi infer` with a fleet file: which agents are meant, and what is refused before any is asked."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from cocoi_cli.commands import infer
from cocoi_cli.fleet import keys
from cocoi_cli.fleet.folders import data_path
from cocoi_cli.fleet.inventory import load
from cocoi_cli.runtime.addresses import Absentee, AgentAddress


@dataclass
class Devices:
    """Writes fleet files and keys, and sees what the command would connect to."""

    home: object
    fleet: object
    opened: list = field(default_factory=list)

    def write(self, *devices: str, path=None, more: str = "", deployed: int = 99) -> object:
        """Each device is its name, `-` in front of it for a drained one; the first so many have keys."""
        path = path or self.home / "fleet.toml"
        lines = ['id = "abc"', more]
        for number, name in enumerate(devices, 1):
            lines += [f'[devices."{name.lstrip("-")}"]', f'ssh = "pi{number}"', f'address = "10.0.0.{number}"']
            lines += ["drained = true"] if name.startswith("-") else []
        path.write_text("\n".join(lines) + "\n")
        inventory = load(path)
        for device in inventory.devices[:deployed]:
            keys.ensure_host_identity(inventory)
            keys.ensure_agent_identity(inventory, device)
        return inventory

    @property
    def members(self) -> list:
        """What the command opened: names of those it connects to, and pairs of name and state of the others."""
        (agents,) = self.opened
        return [each.id if isinstance(each, AgentAddress) else (each.id, each.state) for each in agents.members]


@pytest.fixture
def devices(folders, fleet, monkeypatch) -> Devices:
    made = Devices(folders, fleet)

    def open_deployed(agents, model=None):
        made.opened.append(agents)
        return fleet

    monkeypatch.setattr(infer, "open_deployed", open_deployed)
    return made


def test_the_users_fleet_is_used_as_soon_as_there_is_one(cocoi, devices, signs, picture):
    inventory = devices.write("pi-1", "pi-2")
    outcome = cocoi("infer", picture(), "-m", signs)
    assert outcome.status == 0, outcome.err
    assert devices.members == ["pi-1", "pi-2"]
    assert devices.fleet.asked == []
    (agents,) = devices.opened
    first = agents.members[0]
    assert (first.host, first.port) == ("10.0.0.1", 52600)
    assert first.certificate == keys.agent_certificate(inventory, inventory.devices[0])
    assert agents.identity == keys.host_identity(inventory)
    assert devices.fleet.closed


def test_the_figures_of_a_real_fleet_make_no_excuse(cocoi, devices, signs, picture):
    devices.write("pi-1")
    text = cocoi("infer", picture(), "-m", signs).err
    assert "latency 812 ms; this machine alone 95 ms (8.5 x faster alone)" in text
    assert "share this machine's cores" not in text


def test_embedded_agents_take_the_place_of_the_fleet(cocoi, devices, signs, picture):
    devices.write("pi-1", "pi-2")
    assert cocoi("infer", picture(), "-m", signs, "--embedded", 3, "--kill", 1).status == 0
    assert (devices.fleet.asked, devices.opened) == ([("coded", 3)], [])


def test_the_local_scheme_asks_no_device(cocoi, devices, signs, picture):
    devices.write("pi-1", deployed=0)
    assert cocoi("infer", picture(), "-m", signs, "--scheme", "local").status == 0
    assert (devices.fleet.asked, devices.opened) == ([("local", 0)], [])


def test_a_fleet_file_may_be_named(cocoi, devices, signs, picture, tmp_path):
    devices.write("pi-1")
    devices.write("other-1", "other-2", path=tmp_path / "other.toml")
    assert cocoi("infer", picture(), "-m", signs, "--fleet", "other.toml").status == 0
    assert devices.members == ["other-1", "other-2"]


def test_drained_devices_are_left_alone(cocoi, devices, signs, picture):
    devices.write("pi-1", "-pi-2", "pi-3")
    outcome = cocoi("infer", picture(), "-m", signs)
    assert devices.members == ["pi-1", ("pi-2", "drained"), "pi-3"]
    assert "hint" not in outcome.err


def test_a_device_that_was_never_deployed_is_told_with_the_next_step(cocoi, devices, signs, picture):
    devices.write("pi-1", "pi-2", deployed=1)
    assert cocoi("infer", picture(), "-m", signs).status == 0
    assert devices.members == ["pi-1", ("pi-2", "down")]
    (agents,) = devices.opened
    assert agents.members[1] == Absentee("pi-2", "down", "it has no agent yet")


def test_half_a_certificate_costs_its_device_only(cocoi, devices, signs, picture):
    devices.write("pi-1", "pi-2")
    (data_path("abc") / "agents" / "pi-2.crt").write_text("-----BEGIN CERT")
    assert cocoi("infer", picture(), "-m", signs).status == 0
    assert devices.members == ["pi-1", ("pi-2", "down")]


def test_without_protection_no_keys_are_needed(cocoi, devices, signs, picture):
    devices.write("pi-1", more='security = "none"', deployed=0)
    assert cocoi("infer", picture(), "-m", signs).status == 0
    (agents,) = devices.opened
    assert (agents.members[0].certificate, agents.identity) == (None, None)


def test_who_answered_is_written_down(cocoi, devices, signs, picture, folders):
    devices.write("agent-1", "agent-2", "agent-3")
    cocoi("infer", picture(), "-m", signs)
    assert '"agent-1"' in (folders / "data" / "abc" / "seen.json").read_text()
    assert '"agent-3"' not in (folders / "data" / "abc" / "seen.json").read_text()


def refused(cocoi, devices, signs, picture, *options):
    outcome = cocoi("infer", picture(), "-m", signs, "--json", *options)
    assert (devices.opened, devices.fleet.asked) == ([], [])
    return outcome.status, outcome.document


def test_a_fleet_without_any_agent_is_an_error_with_a_way_out(cocoi, devices, signs, picture, folders):
    devices.write("pi-1", "pi-2", deployed=0)
    status, document = refused(cocoi, devices, signs, picture)
    assert (status, document["error"]) == (4, "not-deployed")
    assert document["message"] == f"fleet file `{folders / 'fleet.toml'}`: none of its 2 devices has an agent yet"

    devices.write("pi-1", deployed=0)
    _, document = refused(cocoi, devices, signs, picture)
    assert document["message"].endswith(": its device has no agent yet")

    devices.write("-pi-1", "pi-2", deployed=1)
    status, document = refused(cocoi, devices, signs, picture)
    assert (status, document["error"]) == (4, "not-deployed")


def test_missing_keys_are_named_by_their_folder(cocoi, devices, signs, picture):
    devices.write("pi-1")
    for name in ("host.crt", "host.key"):
        (data_path("abc") / name).unlink()
    status, document = refused(cocoi, devices, signs, picture)
    assert (status, document["error"]) == (3, "keys-missing")
    assert document["details"] == {"folder": str(data_path("abc"))}
    assert str(data_path("abc")) in document["message"]


def test_broken_keys_of_the_host_are_a_matter_of_configuration(cocoi, devices, signs, picture):
    devices.write("pi-1")
    (data_path("abc") / "host.key").unlink()
    status, document = refused(cocoi, devices, signs, picture)
    assert (status, document["error"]) == (3, "broken-keys")


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        (["--kill", 1], 2, "bad-option"),
        (["--n", 3], 4, "too-few-agents"),
        (["--k", 3], 4, "too-few-agents"),
        (["--fleet", "absent.toml"], 3, "no-fleet"),
    ],
)
def test_what_the_fleet_cannot_do_is_refused_before_it_is_asked(cocoi, devices, signs, picture, options, status, code):
    devices.write("pi-1", "pi-2", "-pi-3")
    found, document = refused(cocoi, devices, signs, picture, *options)
    assert (found, document["error"]) == (status, code)


def test_an_unfit_fleet_file_is_told_with_its_line(cocoi, devices, signs, picture, folders):
    (folders / "fleet.toml").write_text('id = "abc"\n[devices.pi-1]\nssh = "pi"\n')
    status, document = refused(cocoi, devices, signs, picture)
    assert (status, document["error"]) == (3, "bad-fleet-file")
    assert "fleet.toml:2" in document["message"]


def test_a_fleet_file_without_devices_is_told(cocoi, devices, signs, picture):
    devices.write()
    status, document = refused(cocoi, devices, signs, picture)
    assert (status, document["error"]) == (3, "no-devices")
