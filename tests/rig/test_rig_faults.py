"""Each fault word as somebody in the coordinator's place sees it."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from bench.lab.quota import quota
from bench.lab.system import inside, run, tool
from cocoi_agent.transport import ConnectError
from cocoi_agent.wire.messages import Ping, Pong, Status
from tests.agent.host import Host
from tests.agent.programs import conv
from tests.rig.place import Place

pytestmark = [pytest.mark.lab, pytest.mark.slow]

RNG = np.random.default_rng(3)
RECIPE = conv(RNG.standard_normal((8, 4, 3, 3)).astype(np.float32))
X = RNG.standard_normal((1, 4, 40, 40)).astype(np.float16)


async def answer(host: Host) -> tuple[np.ndarray, float]:
    """One convolution of an agent: the result and the seconds that it says it took."""
    done, (y, *_) = await host.run(await host.load(RECIPE), x=X)
    assert done.status is Status.DONE
    return y, done.finished_s - done.started_s


async def hears_nothing(place: Place, host: Host, other: int) -> None:
    """That a ping gets no answer, although another device has answered several since."""
    host.send(Ping(1))
    async with place.client(other) as well:
        for token in range(5):
            assert await well.ask(Ping(token)) is not None
    assert host.inbox.empty()


def test_slow_divides_the_quota_and_one_gives_it_back(place) -> None:
    place.faults("slow", "node-1", "3")
    assert place.groups.quota("node-1") == quota(3)
    assert place.device("node-1")["faults"] == "slow 3"
    place.faults("slow", "node-1", "1.5")
    assert place.groups.quota("node-1") == quota(6)
    place.faults("slow", "node-1", "1")
    assert place.groups.quota("node-1") == quota(9)


def test_a_frozen_device_says_nothing_and_goes_on_when_thawed(place) -> None:
    async def work() -> None:
        async with place.client(1) as host:
            place.faults("freeze", "node-1")
            await hears_nothing(place, host, 3)
            place.faults("thaw", "node-1")
            assert isinstance((await host.next())[0], Pong)

    place.from_host(work)


def test_a_killed_agent_hangs_up_and_stays_away_until_it_is_revived(place) -> None:
    async def work() -> None:
        async with place.client(1) as host:
            place.faults("kill", "node-1")
            await host.gone()
        with pytest.raises(ConnectError) as raised:
            async with place.client(1):
                pass
        assert raised.value.kind == "refused"
        assert not place.device("node-1")["listens"]
        place.faults("kill", "node-1")  # once more: nothing
        place.faults("revive", "node-1")
        async with place.client(1) as host:
            assert isinstance(await host.ask(Ping(2)), Pong)

    place.from_host(work)
    assert place.groups.quota("node-1") == quota(9)
    pid = place.device("node-1")["pid"]
    place.faults("revive", "node-1")  # it lives: nothing
    assert place.device("node-1")["pid"] == pid


def test_a_dead_device_cannot_be_frozen(place) -> None:
    place.faults("kill", "node-1")
    done = place.rig("freeze", "node-1", door="faults", status=1)
    assert done.stderr.splitlines()[0] == "error: `node-1` has no agent to freeze"


def test_a_frozen_device_can_be_killed_and_is_not_frozen_when_revived(place) -> None:
    place.faults("freeze", "node-1")
    place.faults("kill", "node-1")
    assert place.device("node-1")["faults"] == "killed"
    place.faults("revive", "node-1")
    assert place.device("node-1")["faults"] == ""


def test_a_cut_cable_lets_nothing_through_until_it_is_back(place) -> None:
    async def work() -> None:
        async with place.client(1) as host:
            place.faults("cut", "node-1")
            await hears_nothing(place, host, 3)
            place.faults("heal", "node-1")
            assert isinstance((await host.next())[0], Pong)

    place.from_host(work)


def test_packets_are_lost_and_every_byte_arrives(place) -> None:
    before = place.device("node-1")

    async def work() -> None:
        async with place.client(1) as host:
            right, _ = await answer(host)
            place.faults("loss", "node-1", "10")
            for _ in range(20):
                np.testing.assert_array_equal((await answer(host))[0], right)

    place.from_host(work)
    after = place.device("node-1")
    if "lost" in after:  # the kernel's own netem does not count for us
        assert after["lost"] > before["lost"]
        assert after["delayed"] > before["delayed"]


def test_a_link_without_delay_and_loss_takes_no_detour(place) -> None:
    def rules() -> int:
        listed = run(*inside("rigtest-hub"), tool("iptables-legacy"), "-t", "mangle", "-S")
        return listed.count("--physdev-in p2 ") + listed.count("--physdev-out p2 ")

    if place.status()["shaper"] == "netem":  # it has no rules at all
        assert "delays" not in {entry.name for entry in place.folder.iterdir()}
        return
    assert rules() == 0
    place.faults("loss", "node-2", "1%")
    assert rules() == 2
    place.faults("loss", "node-2", "0")
    assert rules() == 0


def test_an_agent_dawdles_from_one_task_to_the_next(place) -> None:
    async def work() -> None:
        async with place.client(3) as host:
            right, prompt_s = await answer(host)
            place.faults("delay", "node-3", "exp", "200", "1")
            delayed = [await answer(host) for _ in range(3)]
            assert max(seconds for _, seconds in delayed) > 5 * prompt_s
            assert all(np.array_equal(y, right) for y, _ in delayed)

    place.from_host(work)


@pytest.mark.parametrize(("lie", "wrong"), [("0.1", X.size), ("flip", 1)])
def test_an_agent_lies_until_it_is_told_to_stop(place, lie: str, wrong: int) -> None:
    async def work() -> None:
        async with place.client(3) as host:
            right, _ = await answer(host)
            place.faults("lie", "node-3", lie)
            differs = (await answer(host))[0] != right
            assert int(differs.sum()) > 0 if wrong > 1 else int(differs.sum()) == 1
            place.faults("lie", "node-3", "none")
            np.testing.assert_array_equal((await answer(host))[0], right)

    place.from_host(work)


def test_clear_undoes_everything_at_once(place) -> None:
    for line in ("slow node-1 2", "cut node-1", "freeze node-2", "loss node-2 5", "lie node-2 flip", "kill node-3"):
        place.faults(*line.split())
    assert [row["faults"] for row in place.status()["devices"]] == [
        "cut, slow 2",
        "frozen, loss 5 %, lie flip",
        "killed",
    ]
    place.faults("clear")

    async def work() -> None:
        for number in (1, 2, 3):
            async with place.client(number) as host, asyncio.timeout(30):
                await answer(host)

    place.from_host(work)
    assert [place.groups.quota(f"node-{number}") for number in (1, 2, 3)] == [quota(9), quota(9), quota(27)]
