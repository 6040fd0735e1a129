"""`cocoi fleet`: what is said, what is written, and the exit status."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from cocoi_cli.commands import fleet_adding, fleet_finding
from cocoi_cli.console import Console
from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet import identity, keys
from cocoi_cli.fleet.discovery import NoMulticastError
from cocoi_cli.fleet.errors import AuthenticationError, UnreachableError
from cocoi_cli.fleet.inventory import load
from cocoi_cli.fleet.remote import Completed
from cocoi_cli.fleet.sightings import Found

FLEET = """\
# my shelf
id = "f00"

# by the window
[devices.shelf-1]
ssh = "pi@192.168.1.11"
address = "192.168.1.11"
machine_id = "c783b2457de643e9a800db0754a31e0e"
host_key = "SHA256:one"

# noisy
[devices.shelf-2]
ssh = "pi@a-very-long-name-of-a-device.example.org:2222"
address = "fd00:1234:5678:9abc:def0:1234:5678:9abc"
port = 52601
install = "user"
drained = true
"""


TABLE = """\
device   ssh                    agent                  install  drained  known
shelf-1  pi@192.168.1.11        192.168.1.11:52600     system   -        yes
shelf-2  pi@a-very-long-name-…  [fd00:1234:5678:9abc…  user     yes      -
"""


@pytest.fixture
def path(folders):
    path = folders / "fleet.toml"
    path.write_text(FLEET)
    return path


@dataclass
class FakeRemote:
    """A device that answers to the one question of `fleet add`."""

    machine_id: str
    hostname: str
    host_key: str
    address: str

    def begin(self, stage):
        assert stage == "identify"

    async def run(self, command):
        assert command[0] == "sh"
        return Completed(0, f"{self.machine_id}\n{self.hostname}\n".encode(), b"")


@dataclass
class FakeShelf:
    """Answers in place of `contact.each`; targets that it does not know are unreachable."""

    remotes: dict
    accesses: list

    async def each(self, devices, access, work, *, on_stage=None):
        self.accesses.append(access)
        results = {}
        for device in devices:
            on_stage(device.name, "connect")
            remote = self.remotes.get(device.ssh)
            try:
                if remote is None:
                    raise UnreachableError(device.name, "connect", "no route to host", kind="unreachable")
                if isinstance(remote, Exception):
                    raise remote
                results[device.name] = await work(remote, device)
            except CocoiError as error:
                results[device.name] = error
        return results


@pytest.fixture
def shelf(monkeypatch):
    """Four fresh cards called `raspberrypi`; nothing but addresses, so that no name is resolved."""
    remotes = {
        f"pi@10.0.0.{number}": FakeRemote(f"{number:032x}", "raspberrypi", f"SHA256:k{number}", f"10.0.0.{number}")
        for number in range(1, 5)
    }
    fake = FakeShelf(remotes, [])
    monkeypatch.setattr(fleet_adding, "each", fake.each)
    return fake


def test_list_is_a_table_that_fits(cocoi, path):
    outcome = cocoi("fleet", "list")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == f"{path}: 2 devices\n" + TABLE


def test_list_as_a_document(cocoi, path):
    document = cocoi("fleet", "list", "--json").document
    assert (document["fleet"], document["id"], document["security"]) == (str(path), "f00", "tls")
    assert document["devices"]["shelf-2"] == {
        "ssh": "pi@a-very-long-name-of-a-device.example.org:2222",
        "address": "fd00:1234:5678:9abc:def0:1234:5678:9abc",
        "port": 52601,
        "machine_id": None,
        "host_key": None,
        "install": "user",
        "drained": True,
    }


def test_list_without_a_fleet_and_with_a_broken_one(cocoi, folders):
    outcome = cocoi("fleet", "list")
    assert outcome.status == 3
    assert outcome.err.startswith(f"error: there is no fleet file `{folders}/fleet.toml`\nhint: ")
    (folders / "fleet.toml").write_text('id = "f"\nsecurty = 1\n')
    outcome = cocoi("fleet", "list", "--json")
    assert (outcome.status, outcome.document["error"]) == (3, "bad-fleet-file")
    assert outcome.document["message"] == f"`{folders}/fleet.toml:2`: unknown key `securty` (closest: `security`)"


def test_the_first_devices_begin_the_fleet(cocoi, shelf, folders):
    outcome = cocoi("fleet", "add", *shelf.remotes, "--accept-new")
    assert outcome.status == 0
    assert outcome.out.startswith(f"added to {folders}/fleet.toml: 4 devices\n")
    assert "pi@10.0.0.1: connect\n" in outcome.err
    inventory = load(folders / "fleet.toml")
    assert [(each.name, each.address, each.machine_id, each.host_key) for each in inventory.devices] == [
        ("raspberrypi", "10.0.0.1", f"{1:032x}", "SHA256:k1"),
        ("raspberrypi-2", "10.0.0.2", f"{2:032x}", "SHA256:k2"),
        ("raspberrypi-3", "10.0.0.3", f"{3:032x}", "SHA256:k3"),
        ("raspberrypi-4", "10.0.0.4", f"{4:032x}", "SHA256:k4"),
    ]
    assert [access.accept_new for access in shelf.accesses] == [True]


def test_those_that_fail_do_not_keep_the_others_out(cocoi, shelf, folders):
    shelf.remotes["pi@10.0.0.2"] = AuthenticationError("pi@10.0.0.2", "connect", "permission denied")
    outcome = cocoi("fleet", "add", "pi@10.0.0.1", "pi@10.0.0.2", "pi@10.0.0.9", "pi@10.0.0.3", "-q")
    assert outcome.status == 4
    assert "error: `pi@10.0.0.2`: connect: permission denied\n" in outcome.err
    assert "error: `pi@10.0.0.9`: connect: no route to host\n" in outcome.err
    assert "hint: " in outcome.err
    assert [each.name for each in load(folders / "fleet.toml").devices] == ["raspberrypi", "raspberrypi-2"]


def test_add_as_a_document(cocoi, shelf, folders):
    outcome = cocoi("fleet", "add", "pi@10.0.0.1", "pi@10.0.0.9", "--json")
    assert outcome.status == 4
    devices = outcome.document["devices"]
    assert devices["raspberrypi"]["ssh"] == "pi@10.0.0.1"
    assert devices["pi@10.0.0.9"]["error"] == "ssh-unreachable"
    assert devices["pi@10.0.0.9"]["details"]["stage"] == "connect"
    assert devices["pi@10.0.0.9"].keys() == {"error", "message", "hint", "details"}


def test_a_single_device_that_fails_is_an_error_of_its_own(cocoi, shelf, folders):
    outcome = cocoi("fleet", "add", "pi@10.0.0.9", "--json")
    assert (outcome.status, outcome.document["error"]) == (4, "ssh-unreachable")
    assert not (folders / "fleet.toml").exists()


def test_one_device_under_two_addresses_is_refused(cocoi, shelf, folders):
    """Wired and wireless of one Pi, or a copied card: machine-id and host key are the same."""
    shelf.remotes["pi@10.0.0.2"] = replace(shelf.remotes["pi@10.0.0.1"], address="10.0.0.2")
    outcome = cocoi("fleet", "add", "pi@10.0.0.1", "pi@10.0.0.2")
    assert outcome.status == 3
    assert "error: `pi@10.0.0.2` has the same machine-id and host key as `raspberrypi` (line " in outcome.err
    assert len(load(folders / "fleet.toml").devices) == 1
    again = cocoi("fleet", "add", "pi@10.0.0.2", "--json")
    assert (again.status, again.document["error"]) == (3, "duplicate-device")
    assert again.document["details"]["other"] == "raspberrypi"


def test_a_device_that_is_there_already_is_not_contacted(cocoi, shelf, path):
    outcome = cocoi("fleet", "add", "pi@192.168.1.11", "--json")
    assert (outcome.status, outcome.document["error"]) == (3, "duplicate-device")
    outcome = cocoi("fleet", "add", "pi@10.0.0.1", "--name", "shelf-2", "--json")
    assert (outcome.status, outcome.document["error"]) == (3, "device-exists")
    assert shelf.accesses == []
    assert path.read_text() == FLEET


@pytest.mark.parametrize(("field", "word"), [("machine_id", "machine-id"), ("host_key", "host key")])
def test_half_an_identity_in_common_is_a_warning(cocoi, shelf, folders, field, word):
    first, second = shelf.remotes["pi@10.0.0.1"], shelf.remotes["pi@10.0.0.2"]
    shelf.remotes["pi@10.0.0.2"] = replace(second, **{field: getattr(first, field)})
    outcome = cocoi("fleet", "add", "pi@10.0.0.1", "pi@10.0.0.2")
    assert outcome.status == 0
    assert f"warning: `raspberrypi-2` has the {word} of `raspberrypi` but another " in outcome.err
    assert len(load(folders / "fleet.toml").devices) == 2


@pytest.mark.parametrize("answer", ["", "uninitialized", "C783B2457DE643E9A800DB0754A31E0E"])
def test_a_device_without_a_machine_id_is_known_by_its_host_key(cocoi, shelf, folders, answer):
    shelf.remotes["pi@10.0.0.1"].machine_id = answer
    assert cocoi("fleet", "add", "pi@10.0.0.1").status == 0
    (device,) = load(folders / "fleet.toml").devices
    assert (device.machine_id, device.host_key) == (None, "SHA256:k1")


def test_names_and_addresses_may_be_given_for_one_device(cocoi, shelf, folders):
    assert cocoi("fleet", "add", "pi@10.0.0.1", "--name", "door", "--address", "pi.lan").status == 0
    (device,) = load(folders / "fleet.toml").devices
    assert (device.name, device.address, device.ssh) == ("door", "pi.lan", "pi@10.0.0.1")
    for option, value in (("--name", "x"), ("--address", "10.0.0.1")):
        outcome = cocoi("fleet", "add", "pi@10.0.0.2", "pi@10.0.0.3", option, value, "--json")
        assert (outcome.status, outcome.document["error"]) == (2, "bad-option")
    for arguments, code in (
        (("pi@",), "bad-target"),
        (("pi@10.0.0.2", "--name", "Door"), "bad-name"),
        (("pi@10.0.0.2", "--address", "::"), "bad-address"),
    ):
        outcome = cocoi("fleet", "add", *arguments, "--json")
        assert (outcome.status, outcome.document["error"]) == (2, code)


def test_unchecked_devices_are_written_without_contact(cocoi, shelf, folders):
    outcome = cocoi("fleet", "add", "pi@10.0.0.1", "pi@shelf.lan:2222", "--unchecked")
    assert (outcome.status, outcome.err) == (0, "")
    assert shelf.accesses == []
    assert [(each.name, each.address, each.host_key) for each in load(folders / "fleet.toml").devices] == [
        ("device", "10.0.0.1", None),
        ("shelf", "shelf.lan", None),
    ]


@pytest.mark.parametrize(
    ("host", "resolved", "address"),
    [
        ("10.0.0.1", None, "10.0.0.1"),
        ("fe80::1%eth0", None, "fe80::1%eth0"),
        ("raspberrypi.local", {"10.0.0.7", "fd00::7"}, "raspberrypi.local"),
        ("shelf", set(), "10.0.0.7"),
        ("shelf", {"203.0.113.5"}, "10.0.0.7"),
    ],
)
def test_an_alias_gives_way_to_the_address_that_it_leads_to(monkeypatch, host, resolved, address):
    import asyncio  # noqa: PLC0415

    async def lookup(name):
        assert resolved is not None
        assert name == host
        return resolved

    monkeypatch.setattr(identity, "_resolved", lookup)
    assert asyncio.run(identity.agent_address(f"pi@{host}", "10.0.0.7")) == address


AFTER = """\
# my shelf
id = "f00"

# noisy
[devices.shelf-2]
ssh = "pi@a-very-long-name-of-a-device.example.org:2222"
address = "fd00:1234:5678:9abc:def0:1234:5678:9abc"
port = 52601
install = "user"
drained = true
"""


def test_remove_keeps_the_rest_and_takes_the_keys(cocoi, path, folders):
    inventory = load(path)
    for device in inventory.devices:
        keys.ensure_agent_identity(inventory, device)
    outcome = cocoi("fleet", "remove", "shelf-1", "--yes")
    assert (outcome.status, outcome.out) == (0, "removed: shelf-1; 1 device left\n")
    assert path.read_text() == AFTER
    assert sorted(each.name for each in (folders / "data" / "f00" / "agents").iterdir()) == [
        "shelf-2.crt",
        "shelf-2.key",
    ]


def test_remove_asks(cocoi, path, monkeypatch):
    outcome = cocoi("fleet", "remove", "shelf-1", "--json")
    assert (outcome.status, outcome.document["error"]) == (2, "confirmation-needed")
    monkeypatch.setattr(Console, "interactive", property(lambda _: True))
    answers = iter(["n", "y"])
    monkeypatch.setattr(Console, "ask", lambda _, text, **__: next(answers))
    outcome = cocoi("fleet", "remove", "shelf-1")
    assert (outcome.status, outcome.out) == (0, "")
    assert "an agent that is installed on a device stays there, out of reach\n" in outcome.err
    assert "nothing was changed\n" in outcome.err
    assert path.read_text() == FLEET
    assert cocoi("fleet", "remove", "shelf-1").status == 0
    assert path.read_text() == AFTER


def test_remove_of_an_unknown_device_removes_none(cocoi, path):
    outcome = cocoi("fleet", "remove", "shelf-1", "shelf-3", "--yes")
    assert outcome.status == 2
    assert f"error: fleet file `{path}` has no device `shelf-3` (closest: `shelf-" in outcome.err
    assert path.read_text() == FLEET


def test_import_of_an_inventory_adds_what_is_new(cocoi, shelf, path, tmp_path):
    hosts = "[shelf]\nold ansible_host=192.168.1.11\ndoor ansible_host=10.0.0.1\n10.0.0.2\n"
    hosts += "[shelf:vars]\nansible_user=pi\n"
    (tmp_path / "hosts").write_text(hosts)
    assert cocoi("fleet", "import", "hosts", "--json").document["error"] == "confirmation-needed"
    outcome = cocoi("fleet", "import", "hosts", "--yes")
    assert outcome.status == 0
    assert "in the fleet already: 1 device\n" in outcome.err
    assert [each.name for each in load(path).devices] == ["shelf-1", "shelf-2", "door", "raspberrypi"]
    again = cocoi("fleet", "import", "hosts", "--yes", "--json")
    assert (again.status, again.document["devices"]) == (0, {})
    assert len(shelf.accesses) == 1


def test_import_tells_the_line_that_it_does_not_understand(cocoi, tmp_path):
    (tmp_path / "hosts").write_text("a\n[b:sons]\n")
    outcome = cocoi("fleet", "import", "hosts")
    assert outcome.status == 3
    assert "error: `hosts:2`: `[b:sons]` is no section" in outcome.err
    assert cocoi("fleet", "import", "nowhere", "--json").document["error"] == "bad-import"


def test_a_fleet_is_exported_and_taken_over(cocoi, path, folders, monkeypatch, tmp_path):
    assert cocoi("fleet", "export", "out.json", "--json").document["error"] == "no-keys"
    inventory = load(path)
    keys.ensure_host_identity(inventory)
    keys.ensure_agent_identity(inventory, inventory.devices[0])
    outcome = cocoi("fleet", "export", "out.json")
    assert (outcome.status, outcome.out) == (0, "written: out.json (2 devices)\n")
    assert "warning: `out.json` holds this host's private key" in outcome.err
    assert "nothing was deployed there: shelf-2\n" in outcome.err
    assert (tmp_path / "out.json").stat().st_mode & 0o777 == 0o600
    assert cocoi("fleet", "export", "out.json", "--json").document["error"] == "confirmation-needed"
    assert cocoi("fleet", "export", "out.json", "--json", "-y").document["certificates"] == ["shelf-1"]
    assert cocoi("fleet", "export", "nowhere/out.json", "--json").document["error"] == "output-not-writable"

    monkeypatch.setenv("COCOI_DATA", str(folders / "second"))
    second = folders / "second.toml"
    outcome = cocoi("fleet", "import", "out.json", "--fleet", second)
    assert (outcome.status, outcome.out) == (0, f"written: {second} (2 devices, 1 certificate)\n")
    assert second.read_text() == FLEET
    assert cocoi("fleet", "import", "out.json", "--fleet", second, "--group", "x", "--json").status == 2
    second.write_text('id = "mine"\n')
    outcome = cocoi("fleet", "import", "out.json", "--fleet", second, "--json", "--yes")
    assert (outcome.status, outcome.document["error"]) == (3, "other-fleet")
    (tmp_path / "out.json").write_text((tmp_path / "out.json").read_text()[:-30])
    outcome = cocoi("fleet", "import", "out.json", "--fleet", second, "--json", "--yes")
    assert (outcome.status, outcome.document["error"]) == (3, "bad-bundle")


@pytest.fixture
def air(monkeypatch):
    """What `discover` hears."""
    heard = [
        Found("raspberrypi-2.local", ("10.0.0.2",), ("name", "ssh"), None, None, None),
        Found("shelf-1.local", ("10.0.0.1",), ("cocoi",), "shelf-1", "0.2.0", 52600),
    ]

    async def discover(*, seconds, interface, names, on_found):
        assert "raspberrypi.local" in names
        if interface == "deaf":
            raise NoMulticastError(["deaf"], "no such device")
        for each in heard:
            on_found(each)
        return tuple(heard)

    monkeypatch.setattr(fleet_finding, "discover", discover)
    return heard


def test_discover_shows_what_is_new_and_what_has_moved(cocoi, air, path):
    outcome = cocoi("fleet", "discover")
    assert outcome.status == 0
    rows = [line.split("  ") for line in outcome.out.splitlines()]
    assert [[cell.strip() for cell in row if cell] for row in rows] == [
        ["found", "address", "announces", "in the fleet"],
        ["raspberrypi-2.local", "10.0.0.2", "ssh", "new"],
        ["shelf-1.local", "10.0.0.1", "cocoi", "shelf-1, moved from 192.168.1.11"],
    ]
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert f"warning: `shelf-1` is at 10.0.0.1, not at 192.168.1.11 as in `{path}`\n" in outcome.err
    assert path.read_text() == FLEET


def test_discover_offers_to_follow_a_device_that_has_moved(cocoi, air, path, monkeypatch):
    monkeypatch.setattr(Console, "interactive", property(lambda _: True))
    asked = []
    monkeypatch.setattr(Console, "ask", lambda _, text, **__: asked.append(text) or "y")
    assert cocoi("fleet", "discover", "--json").document["found"][1]["state"] == "moved"
    assert len(asked) == 1
    assert path.read_text() == FLEET.replace('"192.168.1.11"', '"10.0.0.1"').replace("@192.168.1.11", "@10.0.0.1")


def test_discover_adds_what_is_new(cocoi, air, shelf, folders):
    assert cocoi("fleet", "discover", "--add", "--json").document["error"] == "confirmation-needed"
    outcome = cocoi("fleet", "discover", "--add", "--login", "pi", "--yes", "--json")
    assert outcome.status == 0
    devices = outcome.document["devices"]
    assert {name: each["ssh"] for name, each in devices.items()} == {
        "raspberrypi-2": "pi@10.0.0.2",
        "shelf-1": "pi@10.0.0.1",
    }
    assert cocoi("fleet", "discover", "--login", "-x", "--json").document["error"] == "bad-target"


def test_discover_tells_what_keeps_it_from_hearing(cocoi, air):
    outcome = cocoi("fleet", "discover", "--interface", "deaf")
    assert (outcome.status, outcome.out) == (1, "")
    assert "error: no multicast on `deaf`: no such device\n" in outcome.err
    air.clear()
    outcome = cocoi("fleet", "discover")
    assert (outcome.status, outcome.out) == (0, "")
    assert "warning: nothing has announced itself\n" in outcome.err


def test_help_of_each_command_fits_and_is_light(cocoi):
    for command in ("add", "discover", "import", "list", "remove", "export"):
        outcome = cocoi("fleet", command, "--help")
        assert outcome.status == 0
        assert "--fleet F" in outcome.out
