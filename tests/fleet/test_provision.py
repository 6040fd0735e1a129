"""Deploy on devices in memory: what is done, what is left alone, and how it goes back."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from cocoi_cli.fleet import keys, provision
from cocoi_cli.fleet.deployed import (
    Choice,
    Deployed,
    NotServingError,
    OtherInstallError,
    PreflightError,
    RolledBackError,
)
from cocoi_cli.fleet.errors import DroppedError, ScriptFailedError, SudoError
from cocoi_cli.fleet.health import Health
from cocoi_cli.fleet.provision import Deployment
from cocoi_cli.fleet.records import Device, Inventory
from cocoi_cli.fleet.targets import Target
from cocoi_cli.fleet.wheelhouse import WheelFile, Wheelhouse
from cocoi_cli.runtime.link_errors import LinkError
from tests.fleet.fake_install import FACTS, FakeInstall, FakeRemote, Record

PI = Device("pi", "pi@127.0.0.1", "127.0.0.1")
HEALTHY = Health("pi", "0.1.0", "1.31.1", {}, 0.1, 0.001, 0.001)
FIRST = ["inspect", "receive", "stage", "try", "configure", "switch", "confirm"]


@pytest.fixture(autouse=True)
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """A wheelhouse of two small files; the list says for what it was asked."""
    asked: list[Target] = []

    async def fetch(target: Target, **_: object) -> Wheelhouse:
        asked.append(target)
        files = []
        for name in ("pip-1-py3-none-any.whl", "numpy-2-py3-none-any.whl"):
            path = tmp_path / name
            path.write_bytes(name.encode())
            files.append(WheelFile(path, name, len(name), hashlib.sha256(name.encode()).hexdigest()))
        return Wheelhouse(target, tuple(files), "numpy==2 --hash=sha256:0\n")

    monkeypatch.setattr(provision, "fetch", fetch)
    monkeypatch.setenv("COCOI_DATA", str(tmp_path / "data"))
    return asked


def deploy(
    install: FakeInstall,
    *,
    serves: bool = True,
    device: Device = PI,
    choice: Choice | None = None,
    security: str = "tls",
) -> Deployed:
    return asyncio.run(_deploy([(device, install)], serves=serves, choice=choice, security=security))[0]


async def _deploy(
    pairs: list[tuple[Device, FakeInstall]],
    *,
    serves: bool = True,
    choice: Choice | None = None,
    security: str = "tls",
    at_once: int = 2,
    watch: Record | None = None,
) -> list[Deployed]:
    async def check(each: Device) -> Health:
        for _ in range(20):
            await asyncio.sleep(0)  # the others have their turns
        if not serves:
            raise LinkError(each.name, "127.0.0.1:52600", "nobody answers")
        return HEALTHY

    devices = tuple(device for device, _ in pairs)
    inventory = Inventory(Path("fleet.toml"), "f" * 16, security, devices)  # type: ignore[arg-type]
    deployment = Deployment(inventory, choice or Choice(), watch or Record(), at_once=at_once, check=check)
    try:
        return list(await asyncio.gather(*(deployment(FakeRemote(*pair), pair[0]) for pair in pairs)))  # type: ignore[arg-type]
    finally:
        await deployment.aclose()


def test_a_bare_device_gets_everything_in_order():
    install = FakeInstall()
    done = deploy(install)
    assert install.asked == FIRST
    assert done.changed
    assert done.version == install.current
    assert (done.previous, install.origin) == (None, None)
    assert install.received == sum(len(name) for name in install.wheels if not name.startswith("cocoi")) + agent_size()
    assert set(install.configs[install.config or ""]) == {"agent.crt", "agent.key", "hosts.crt", "agent.env"}
    assert "COCOI_HOST=127.0.0.1" in install.configs[install.config or ""]["agent.env"].replace('"', "")


def agent_size() -> int:
    return len(provision.agent_wheel().data)


def test_a_second_deploy_touches_nothing():
    install = FakeInstall()
    first = deploy(install)
    install.asked.clear()
    again = deploy(install)
    assert again.steps == ()
    assert again.version == first.version
    assert install.asked == ["inspect", "configure", "switch"]


def test_a_deploy_that_was_cut_off_before_the_switch_is_finished_without_sending_again():
    for op in ("try", "configure", "switch"):
        install = FakeInstall(fails={op: "cut", "rollback": "cut"})
        with pytest.raises(DroppedError):
            deploy(install)
        install.fails.clear()
        install.asked.clear()
        assert deploy(install).changed
        assert "receive" not in install.asked


def test_a_switch_that_was_never_confirmed_is_confirmed_by_the_next_deploy():
    install = FakeInstall(fails={"confirm": "cut"})
    with pytest.raises(DroppedError):
        deploy(install)
    assert install.origin is not None
    install.fails.clear()
    deploy(install)
    assert install.origin is None
    assert install.current in install.confirmed


def test_a_version_that_does_not_serve_is_taken_back():
    install = served("old")
    with pytest.raises(RolledBackError) as caught:
        deploy(install, serves=False)
    assert install.current == "old"
    assert caught.value.details["version"] == "old"
    assert "nobody answers" in caught.value.message


def test_a_bare_device_is_bare_again_when_the_first_version_does_not_serve():
    install = FakeInstall()
    with pytest.raises(RolledBackError) as caught:
        deploy(install, serves=False)
    assert install.current is None
    assert caught.value.details["version"] is None


def test_a_version_that_fails_its_test_never_gets_to_the_switch():
    install = served("old")
    install.fails["try"] = "self-test-failed"
    with pytest.raises(ScriptFailedError) as caught:
        deploy(install)
    assert caught.value.details["failure"] == "self-test-failed"
    assert "switch" not in install.asked
    assert install.current == "old"


def test_a_first_install_that_fails_leaves_nothing():
    for op in ("receive", "stage", "try", "configure"):
        install = FakeInstall(fails={op: "disk-full"})
        with pytest.raises(ScriptFailedError):
            deploy(install)
        assert (install.complete, install.wheels) == (set(), {})


def test_what_another_installer_is_doing_is_left_to_it():
    install = FakeInstall(fails={"stage": "busy"})
    with pytest.raises(ScriptFailedError):
        deploy(install)
    assert "rollback" not in install.asked


def test_an_agent_that_stopped_serving_is_not_called_a_failed_update():
    install = FakeInstall()
    deploy(install)
    install.asked.clear()
    with pytest.raises(NotServingError):
        deploy(install, serves=False)
    assert "rollback" not in install.asked


def test_a_rollback_that_fails_too_is_told_with_its_reason():
    install = served("old")
    install.fails["rollback"] = "start-failed"
    with pytest.raises(ScriptFailedError) as caught:
        deploy(install, serves=False)
    assert caught.value.details["before"]["error"] == "agent-unreachable"


def test_everything_that_is_wrong_is_said_at_once():
    facts = {**FACTS, "system": {**FACTS["system"], "userland": "armhf", "pointer_bits": 32, "libc": [2, 24]}}
    install = FakeInstall(facts=facts)
    with pytest.raises(PreflightError) as caught:
        deploy(install)
    assert {each.code for each in caught.value.findings} >= {"32-bit-userland", "old-libc"}
    assert install.asked == []


def test_a_user_who_cannot_be_root_changes_nothing():
    install = FakeInstall(may_be_root=False)
    with pytest.raises(SudoError):
        deploy(install)
    assert install.asked == []


def test_a_user_install_needs_no_root():
    install = FakeInstall(may_be_root=False)
    assert deploy(install, choice=Choice(install="user")).install == "user"


def test_the_other_kind_of_install_is_not_put_beside_the_first():
    installed = {"system": {"current": "old", "python": "/opt/cocoi/current/bin/python"}}
    install = FakeInstall(facts={**FACTS, "installed": installed})
    with pytest.raises(OtherInstallError):
        deploy(install, choice=Choice(install="user"))


def test_a_dry_run_says_what_would_be_done_and_does_nothing():
    install = FakeInstall()
    done = deploy(install, choice=Choice(dry_run=True))
    assert install.asked == ["inspect"]
    assert [step.split()[0] for step in done.steps] == ["send", "make", "test", "write", "switch", "check"]
    deploy(install)
    install.asked.clear()
    assert deploy(install, choice=Choice(dry_run=True)).steps == ()
    assert install.asked == ["inspect"]


def test_online_devices_get_only_pip_and_the_agent():
    install = FakeInstall()
    deploy(install, choice=Choice(online=True))
    assert sorted(name.split("-")[0] for name in install.wheels) == ["cocoi_agent", "pip"]


def test_wheels_of_one_kind_are_fetched_once_for_all_devices(wheels: list[Target]):
    pairs = [(Device(f"pi-{n}", f"pi@127.0.0.{n}", "127.0.0.1", port=50000 + n), FakeInstall()) for n in range(1, 6)]
    asyncio.run(_deploy(pairs))
    assert len(wheels) == 1


def test_agents_that_serve_are_restarted_so_few_at_a_time():
    away, most = 0, 0

    class Slow(FakeInstall):
        def switch(self, request):
            nonlocal away, most
            away += 1
            most = max(most, away)
            return super().switch(request)

        def confirm(self, request):
            nonlocal away
            away -= 1
            return super().confirm(request)

    pairs = []
    for n in range(1, 7):
        install = Slow(current="old", config="0", active=True, complete={"old"}, confirmed={"old"})
        pairs.append((Device(f"pi-{n}", f"pi@127.0.0.{n}", "127.0.0.1", port=50000 + n), install))
    asyncio.run(_deploy(pairs, at_once=2))
    assert most == 2


def test_without_security_there_are_no_certificates():
    install = FakeInstall()
    deploy(install, security="none")
    assert set(install.configs[install.config or ""]) == {"agent.env"}


def served(version: str) -> FakeInstall:
    return FakeInstall(current=version, config="0", active=True, complete={version}, confirmed={version})


def test_a_rotation_meanwhile_is_not_undone_by_a_deploy(monkeypatch: pytest.MonkeyPatch):
    """The deploy wrote down who is admitted while both hosts were; when it is through, only the new one is."""
    install = FakeInstall()
    deploy(install)
    fleet = Inventory(Path("fleet.toml"), "f" * 16, "tls", (PI,))
    keys.make_next(fleet, [PI])
    seen: list[str] = []

    async def check(each: Device) -> Health:
        if not seen:
            keys.adopt_next(fleet)
        seen.append(each.name)
        return HEALTHY

    async def run() -> None:
        deployment = Deployment(fleet, Choice(), Record(), at_once=1, check=check)
        await deployment(FakeRemote(PI, install), PI)  # type: ignore[arg-type]
        await deployment.aclose()

    asyncio.run(run())
    assert seen == ["pi", "pi"]
    host = keys.host_identity(fleet)
    assert host is not None
    assert install.configs[install.config or ""]["hosts.crt"] == host.certificate.read_text()
