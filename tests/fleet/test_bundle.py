"""A fleet goes to a second host whole, or nothing is written there."""

from __future__ import annotations

import json

import pytest

from cocoi_cli.fleet import bundle, keys
from cocoi_cli.fleet.bundle import BadBundleError, NoKeysError, OtherFleetError, RotatingError
from cocoi_cli.fleet.folders import data_path
from cocoi_cli.fleet.inventory import load

FLEET = """\
# our shelf
id = "f00"
[devices.a]
ssh = "pi@10.0.0.1"
address = "10.0.0.1"
[devices.b]
ssh = "pi@10.0.0.2"
address = "10.0.0.2"
[devices.new]
ssh = "pi@10.0.0.3"
address = "10.0.0.3"
"""


@pytest.fixture
def first(tmp_path, monkeypatch):
    """A host that has deployed to `a` and `b`, not to `new`."""
    monkeypatch.setenv("COCOI_DATA", str(tmp_path / "first"))
    path = tmp_path / "first.toml"
    path.write_text(FLEET)
    inventory = load(path)
    keys.ensure_host_identity(inventory)
    for device in inventory.devices[:2]:
        keys.ensure_agent_identity(inventory, device)
    return path


@pytest.fixture
def exported(first, tmp_path):
    out = tmp_path / "out.json"
    bundle.save(bundle.export(first), out)
    return out


@pytest.fixture
def second(exported, tmp_path, monkeypatch):
    """Another host, which has nothing yet; the path where its fleet file will be."""
    monkeypatch.setenv("COCOI_DATA", str(tmp_path / "second"))
    return tmp_path / "config" / "fleet.toml"


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.*") if path.is_file()}


def test_a_fleet_goes_to_a_second_host(exported, second, tmp_path):
    assert exported.stat().st_mode & 0o777 == 0o600
    found = bundle.parse(exported.read_text(), exported, second)
    assert bundle.present_text(found) is None
    bundle.install(found)
    bundle.install(found)
    assert second.read_text() == FLEET
    here, there = contents(tmp_path / "second" / "f00"), contents(tmp_path / "first" / "f00")
    assert {name for name in here if not name.startswith(".")} == {
        "host.crt", "host.key", "agents/a.crt", "agents/b.crt"
    }  # fmt: skip
    assert all(there[name] == text for name, text in here.items())
    folder = data_path("f00")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "host.key").stat().st_mode & 0o777 == 0o600
    inventory = load(second)
    assert keys.host_identity(inventory) is not None
    assert [keys.agent_certificate(inventory, device) is not None for device in inventory.devices] == [
        True, True, False
    ]  # fmt: skip


def test_no_agents_private_key_leaves_the_host(exported, tmp_path):
    text = exported.read_text()
    assert json.loads(text).keys() == {"cocoi_fleet", "fleet_toml", "host_crt", "host_key", "agents"}
    for name in ("a", "b"):
        secret = (tmp_path / "first" / "f00" / "agents" / f"{name}.key").read_text().splitlines()[1]
        assert secret not in text


def test_a_fleet_without_keys_is_not_exported(tmp_path, monkeypatch):
    monkeypatch.setenv("COCOI_DATA", str(tmp_path / "data"))
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET)
    with pytest.raises(NoKeysError) as caught:
        bundle.export(path)
    assert (caught.value.code, caught.value.exit_status) == ("no-keys", 3)
    assert not (tmp_path / "data").exists()


def test_a_fleet_in_the_middle_of_a_rotation_is_not_exported(first):
    keys.make_next(load(first), load(first).devices)
    with pytest.raises(RotatingError):
        bundle.export(first)


def broken(document, **changes):
    return json.dumps({key: each for key, each in (document | changes).items() if each is not None})


def breakages(document):
    half = document["host_crt"][: len(document["host_crt"]) // 2]
    other = document["agents"]["a"]
    twice = FLEET + '[devices.c]\nssh = "c"\naddress = "10.0.0.1"\n'
    return {
        "it is no JSON, or cut off": json.dumps(document)[:-20],
        "it has no `cocoi_fleet`": broken(document, cocoi_fleet=None),
        "its form is 2, this release reads 1": broken(document, cocoi_fleet=2),
        "`host_key` is missing": broken(document, host_key=None),
        "`agents` is missing": broken(document, agents=None),
        "a part of it is no text": broken(document, agents={"a": 1}),
        "the host's certificate cannot be read": broken(document, host_crt=half),
        "the host's private key cannot be read": broken(document, host_key=document["host_key"][:80]),
        "the host's certificate and private key do not belong together": broken(document, host_crt=other),
        "the certificate of `a` cannot be read": broken(document, agents={"a": half}),
        "a certificate of `../../x`, which its fleet file does not name": broken(document, agents={"../../x": other}),
        "line 1 of its fleet file: `id` is missing": broken(document, fleet_toml="# nothing"),
        "line 3 of its fleet file: it is no TOML": broken(document, fleet_toml='\n\nid = "'),
        "has the same address and port": broken(document, fleet_toml=twice),
    }


def test_a_broken_bundle_is_refused_and_nothing_is_written(exported, second, tmp_path):
    for cause, text in breakages(json.loads(exported.read_text())).items():
        with pytest.raises(BadBundleError) as caught:
            bundle.parse(text, exported, second)
        assert cause in caught.value.message
        assert caught.value.message.startswith(f"`{exported}` is no whole fleet bundle: ")
        assert (caught.value.code, caught.value.exit_status) == ("bad-bundle", 3)
    for text in ("[]", "null", "[" * 100_000):
        with pytest.raises(BadBundleError):
            bundle.parse(text, exported, second)
    assert not second.exists()
    assert not (tmp_path / "second").exists()


def test_another_fleets_file_is_never_replaced(exported, second, tmp_path):
    second.parent.mkdir()
    second.write_text('id = "mine"\n')
    found = bundle.parse(exported.read_text(), exported, second)
    with pytest.raises(OtherFleetError) as caught:
        bundle.install(found)
    assert caught.value.message == (
        f"`{second}` is the file of another fleet: its id is `mine`, that of the bundle `f00`"
    )
    assert second.read_text() == 'id = "mine"\n'
    assert not (tmp_path / "second").exists()


def test_an_older_copy_of_the_same_fleet_is_replaced(exported, second):
    second.parent.mkdir()
    second.write_text('id = "f00"\n')
    found = bundle.parse(exported.read_text(), exported, second)
    assert bundle.present_text(found) == 'id = "f00"\n'
    old = keys.ensure_host_identity(load(second)).key.read_text()
    keys.make_next(load(second), ())
    bundle.install(found)
    assert second.read_text() == FLEET
    assert keys.host_identity(load(second)).key.read_text() == found.host_key != old
    assert keys.next_host_identity(load(second)) is None


def test_bundles_are_told_from_inventories(exported):
    assert bundle.is_bundle(exported.read_text())
    assert bundle.is_bundle(exported.read_text()[:30])
    assert not bundle.is_bundle('{"all": {"hosts": {}}}')
    assert not bundle.is_bundle("[cocoi]\nhost\n")
