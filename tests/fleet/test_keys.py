"""Keys: made once, never open to others, never half, and reachable agents at every moment of a rotation."""

from __future__ import annotations

import os
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from cocoi_agent.transport import agent_context, host_context
from cocoi_cli.fleet import keys
from cocoi_cli.fleet.folders import DataFolderError, data_folder
from cocoi_cli.fleet.pairs import BrokenKeysError, OpenKeysError
from cocoi_cli.fleet.records import Inventory
from cocoi_cli.runtime.trust import Identity
from tests.agent.certificates import make_certificate
from tests.fleet.killed_keys import DEVICES, FLEET, NEW, OPERATIONS, inventory

ONE, TWO = DEVICES
ENV = {"COCOI_ID": "one", "COCOI_INTERFACE": "", "COCOI_PORT": "52600"}


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inventory:
    monkeypatch.setenv("COCOI_DATA", str(tmp_path))
    return inventory(tmp_path)


@pytest.fixture
def folder(fleet: Inventory) -> Path:
    return data_folder(fleet)


def everything(folder: Path) -> dict[str, bytes]:
    """Every file but the lock, by its path."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def in_use(folder: Path) -> dict[str, bytes]:
    """The same without drafts, which a kill may leave until the next change."""
    return {name: data for name, data in everything(folder).items() if not name.startswith(".draft-")}


def common_name(text: bytes | str) -> str:
    data = text.encode() if isinstance(text, str) else text
    (found,) = x509.load_pem_x509_certificate(data).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found.value)


# --- identities ----------------------------------------------------------------------------


def test_nothing_is_there_before_it_is_asked_for(fleet: Inventory, tmp_path: Path) -> None:
    assert keys.host_identity(fleet) is None
    assert keys.next_host_identity(fleet) is None
    assert keys.agent_certificate(fleet, ONE) is None
    assert keys.forget(fleet, "one") == []
    assert (keys.adopt_next(fleet), keys.drop_next(fleet)) == (False, False)
    assert not [*tmp_path.iterdir()]


def test_identities_are_made_once_and_private(fleet: Inventory, folder: Path) -> None:
    host = keys.ensure_host_identity(fleet)
    agent = keys.ensure_agent_identity(fleet, TWO)
    assert host == Identity(folder / "host.crt", folder / "host.key") == keys.host_identity(fleet)
    assert agent == Identity(folder / "agents/two.b.crt", folder / "agents/two.b.key")
    assert keys.agent_certificate(fleet, TWO) == agent.certificate
    assert common_name(host.certificate.read_bytes()) == "host"
    assert common_name(agent.certificate.read_bytes()) == "two.b"
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    before = everything(folder)
    assert set(before) == {"host.crt", "host.key", "agents/two.b.crt", "agents/two.b.key"}
    assert (keys.ensure_host_identity(fleet), keys.ensure_agent_identity(fleet, TWO)) == (host, agent)
    assert everything(folder) == before


def test_private_whatever_the_mask(fleet: Inventory, folder: Path) -> None:
    mask = os.umask(0)
    try:
        keys.make_next(fleet, DEVICES)
        keys.adopt_next(fleet)
    finally:
        os.umask(mask)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()} == {0o600}


def remove_key(folder: Path, _: Path) -> None:
    (folder / "host.key").unlink()


def remove_certificate(folder: Path, _: Path) -> None:
    (folder / "host.crt").unlink()


def cut_certificate(folder: Path, _: Path) -> None:
    data = (folder / "host.crt").read_bytes()
    (folder / "host.crt").write_bytes(data[: len(data) // 2])


def empty_key(folder: Path, _: Path) -> None:
    (folder / "host.key").write_bytes(b"")


def swap_key(folder: Path, scratch: Path) -> None:
    _, key = make_certificate(scratch, "other")
    (folder / "host.key").write_bytes(key.read_bytes())


@pytest.mark.parametrize(
    ("harm", "named", "cause"),
    [
        (remove_key, ("host.crt", "host.key"), "`host.key` is missing"),
        (remove_certificate, ("host.crt", "host.key"), "`host.crt` is missing"),
        (cut_certificate, ("host.crt",), "it is no certificate in PEM form"),
        (empty_key, ("host.key",), "it is no private key in PEM form without a password"),
        (swap_key, ("host.crt", "host.key"), "the key is not the one of the certificate"),
    ],
)
def test_half_a_certificate_is_an_error_and_stays_as_it_is(
    fleet: Inventory, folder: Path, tmp_path: Path, harm: Callable[[Path, Path], None], named, cause: str
) -> None:
    keys.ensure_host_identity(fleet)
    (tmp_path / "scratch").mkdir()
    harm(folder, tmp_path / "scratch")
    before = everything(folder)
    asked: list[Callable[[], object]] = [
        lambda: keys.host_identity(fleet),
        lambda: keys.ensure_host_identity(fleet),
        lambda: keys.agent_files(fleet, ONE, ENV),
        lambda: keys.make_next(fleet, DEVICES),
    ]
    for ask in asked:
        with pytest.raises(BrokenKeysError) as caught:
            ask()
        names = " and ".join(f"`{folder / name}`" for name in named)
        assert str(caught.value) == f"cannot use {names}: {cause}"
        assert (caught.value.code, caught.value.exit_status) == ("broken-keys", 3)
    assert everything(folder) == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o601])
def test_a_key_that_is_open_to_others_is_refused(fleet: Inventory, folder: Path, mode: int) -> None:
    keys.ensure_agent_identity(fleet, ONE)
    path = folder / "agents/one.key"
    path.chmod(mode)
    with pytest.raises(OpenKeysError) as caught:
        keys.agent_files(fleet, ONE, ENV)
    assert str(caught.value) == (f"the private key `{path}` is open to other users: its mode is {mode:04o}, not 0600")
    assert (caught.value.code, caught.value.exit_status) == ("open-keys", 3)
    path.chmod(0o400)
    assert keys.agent_files(fleet, ONE, ENV)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COCOI_DATA", str(tmp_path / "file"))
    with pytest.raises(DataFolderError, match=r"cannot use the fleet's data folder: .*: not a directory"):
        keys.ensure_host_identity(inventory(tmp_path))


# --- what a device gets -----------------------------------------------------------------------


def test_a_device_gets_its_pair_the_host_and_its_settings(fleet: Inventory, folder: Path) -> None:
    files = keys.agent_files(fleet, ONE, ENV)
    assert files == {
        "agent.crt": (folder / "agents/one.crt").read_text(),
        "agent.key": (folder / "agents/one.key").read_text(),
        "hosts.crt": (folder / "host.crt").read_text(),
        "agent.env": "COCOI_ID=one\nCOCOI_INTERFACE=\nCOCOI_PORT=52600\n",
    }
    assert keys.agent_files(fleet, ONE, ENV) == files


@pytest.mark.parametrize(
    ("value", "text"),
    [("1GiB", "1GiB"), ("fe80::1%eth0", "fe80::1%eth0"), ("a b", '"a b"'), ('"$\\`', r'"\"\$\\\`"'), ("#x", '"#x"')],
)
def test_settings_are_quoted_where_systemd_would_read_something_else(value: str, text: str) -> None:
    assert keys.environment_text({"A": value}) == f"A={text}\n"


def test_a_setting_cannot_smuggle_another_in() -> None:
    for value in ("a\nB=1", "a\rB=1", "\0"):
        with pytest.raises(ValueError, match="line break"):
            keys.environment_text({"A": value})


def test_forgetting_a_device_takes_everything_of_it_and_nothing_else(fleet: Inventory, folder: Path) -> None:
    for device in DEVICES:
        keys.ensure_agent_identity(fleet, device)
    keys.make_next(fleet, DEVICES)
    before = everything(folder)
    gone = keys.forget(fleet, "one")
    assert sorted(gone) == sorted(name for name in before if "/one." in name)
    assert len(gone) == 5
    assert everything(folder) == {name: data for name, data in before.items() if name not in gone}
    assert keys.forget(fleet, "one") == []
    assert keys.adopt_next(fleet)
    assert set(everything(folder)) == {"host.crt", "host.key", "agents/two.b.crt", "agents/two.b.key"}


# --- rotation -------------------------------------------------------------------------------


def trusts(host: Identity, pinned: Path, files: dict[str, str], scratch: Path) -> bool:
    """Whether host and agent, each with what it has, accept each other: a TLS handshake in memory."""
    for name in ("agent.crt", "agent.key", "hosts.crt"):
        (scratch / name).write_text(files[name])
    server_context = agent_context(scratch / "agent.crt", scratch / "agent.key", scratch / "hosts.crt")
    client_context = host_context(host.certificate, host.key, pinned)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up)
    server = server_context.wrap_bio(up, down, server_side=True)
    waiting = [client.do_handshake, server.do_handshake]
    try:
        while waiting:
            side = waiting.pop(0)
            try:
                side()
            except ssl.SSLWantReadError:
                waiting.append(side)
    except ssl.SSLError:
        return False
    return True


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def test_at_every_step_of_a_rotation_the_host_reaches_those_told_and_those_not(fleet: Inventory, scratch: Path) -> None:
    def reached(files: dict[str, str]) -> bool:
        host, pinned = keys.host_identity(fleet), keys.agent_certificate(fleet, ONE)
        assert host is not None
        assert pinned is not None
        return trusts(host, pinned, files, scratch)

    old = keys.agent_files(fleet, ONE, ENV)
    assert reached(old)
    keys.make_next(fleet, DEVICES)
    told = keys.agent_files(fleet, ONE, ENV)
    assert told["agent.crt"] != old["agent.crt"]
    assert told["hosts.crt"].count("BEGIN") == 2
    assert reached(old)
    assert reached(told)
    late = keys.agent_files(fleet, NEW, ENV)  # came after the rotation began
    assert late["hosts.crt"] == told["hosts.crt"]

    stolen = scratch / "stolen"
    stolen.mkdir()
    host = keys.host_identity(fleet)
    assert host is not None
    thief = Identity(stolen / "host.crt", stolen / "host.key")
    thief.certificate.write_bytes(host.certificate.read_bytes())
    thief.key.write_bytes(host.key.read_bytes())

    assert keys.adopt_next(fleet)
    assert keys.next_host_identity(fleet) is None
    assert reached(told)
    assert not reached(old)
    new = keys.agent_files(fleet, ONE, ENV)
    assert new["agent.crt"] == told["agent.crt"]
    assert new["hosts.crt"].count("BEGIN") == 1
    assert reached(new)
    pinned = keys.agent_certificate(fleet, ONE)
    assert pinned is not None
    assert trusts(thief, pinned, told, scratch)  # until the agent has been told a second time
    assert not trusts(thief, pinned, new, scratch)
    assert keys.agent_certificate(fleet, NEW) is not None
    assert not keys.adopt_next(fleet)


def test_successors_are_kept_when_a_rotation_is_begun_again(fleet: Inventory, folder: Path) -> None:
    first = keys.make_next(fleet, [ONE])
    before = everything(folder)
    assert keys.make_next(fleet, DEVICES) == first == keys.next_host_identity(fleet)
    after = everything(folder)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {
        "next/agents/two.b.crt", "next/agents/two.b.key", "next/pinned/two.b.crt",
    }  # fmt: skip


def test_a_rotation_that_is_given_up_leaves_nothing(fleet: Inventory, folder: Path) -> None:
    keys.agent_files(fleet, ONE, ENV)
    before = everything(folder)
    keys.make_next(fleet, DEVICES)
    assert keys.drop_next(fleet)
    assert everything(folder) == before
    assert not keys.drop_next(fleet)


def test_a_second_host_that_has_no_keys_of_agents_can_rotate(fleet: Inventory, folder: Path, scratch: Path) -> None:
    """It got the host's pair and the agents' certificates; after a theft of the first host it must act alone."""
    old = keys.agent_files(fleet, ONE, ENV)
    (folder / "agents/one.key").unlink()
    with pytest.raises(BrokenKeysError, match=r"`one\.key` is missing"):
        keys.agent_files(fleet, ONE, ENV)
    keys.make_next(fleet, [ONE])
    host, pinned = keys.host_identity(fleet), keys.agent_certificate(fleet, ONE)
    assert host is not None
    assert pinned is not None
    assert trusts(host, pinned, old, scratch)
    assert trusts(host, pinned, keys.agent_files(fleet, ONE, ENV), scratch)
    keys.adopt_next(fleet)
    assert keys.agent_files(fleet, ONE, ENV)["hosts.crt"].count("BEGIN") == 1


# --- killed at every moment -----------------------------------------------------------------


def before_ensure(fleet: Inventory) -> None:
    """Nothing is there."""


def before_agent(fleet: Inventory) -> None:
    keys.ensure_host_identity(fleet)


def before_next(fleet: Inventory) -> None:
    for device in DEVICES:
        keys.agent_files(fleet, device, {})


def during_next(fleet: Inventory) -> None:
    before_next(fleet)
    keys.make_next(fleet, DEVICES)


STARTS = {
    "ensure_host_identity": before_ensure,
    "ensure_agent_identity": before_agent,
    "agent_files": before_ensure,
    "make_next": before_next,
    "adopt_next": during_next,
    "drop_next": during_next,
    "forget": during_next,
}


def test_every_operation_is_killed() -> None:
    assert set(STARTS) == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_any_moment_it_has_happened_or_not_and_can_be_repeated(
    operation: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = tmp_path / "before"
    start.mkdir()
    monkeypatch.setenv("COCOI_DATA", str(start))
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a killed process leaves what it wrote to the system
    STARTS[operation](inventory(start))
    old = everything(start / FLEET)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fleet.killed_keys", str(tmp_path), operation],
        env={**os.environ, "PYTHONPATH": f"{repository}:{repository / 'agent'}"},
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    moments = int(done.stdout)
    assert moments > 8
    shape = sorted(everything(tmp_path / f"after-{moments}" / FLEET))  # of the run that nobody killed
    for parent in (tmp_path / f"after-{number}" for number in range(1, moments + 1)):
        monkeypatch.setenv("COCOI_DATA", str(parent))
        fleet = inventory(parent)
        check_whole(fleet)
        found = in_use(parent / FLEET)
        if operation != "agent_files":  # two things, each of them whole or not
            assert found == old or sorted(found) == shape, parent.name
        OPERATIONS[operation](fleet)
        check_whole(fleet)
        again = everything(parent / FLEET)
        assert sorted(again) == shape, parent.name
        kept = set(old) & set(again) if operation != "adopt_next" else set()
        assert all(again[name] == old[name] for name in kept)
        if operation == "adopt_next":
            assert again == {
                name.removeprefix("next/"): data
                for name, data in old.items()
                if name.startswith("next/") and "pinned" not in name
            }


def check_whole(fleet: Inventory) -> None:
    """Readers find whole pairs, and finish what was cut off; a broken one raises."""
    there = keys.host_identity(fleet) is not None
    keys.next_host_identity(fleet)
    for device in (*DEVICES, NEW):
        if keys.agent_certificate(fleet, device) is not None and there:
            keys.agent_files(fleet, device, {})
