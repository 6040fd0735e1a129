"""Weights are placed on enough agents; those that are late join when they are ready."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cocoi_cli.runtime import placing
from cocoi_cli.runtime.codewords import Patience
from cocoi_cli.runtime.link_errors import LinkError
from cocoi_cli.runtime.placing import Placing


class FakeLink:
    """Takes weights when it is told to."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.go = asyncio.Event()
        self.failure: LinkError | None = None
        self.taken: list[object] = []
        self.at_once = 0
        self.has_it = asyncio.Event()
        self.closed = False

    async def prepare(self, programs: object, blobs: object) -> int:
        self.at_once += 1
        assert self.at_once == 1, "asked for two things at once"
        try:
            await self.go.wait()
        finally:
            self.at_once -= 1
        if self.failure is not None:
            raise self.failure
        self.taken.append(programs)
        self.has_it.set()
        return 0

    async def aclose(self) -> None:
        self.closed = True


class Story:
    """What the owner is told, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def occupied(self, agent: str) -> None:
        self.lines.append(f"{agent} occupied")

    def ready(self, agent: str) -> None:
        self.lines.append(f"{agent} ready")

    def lost(self, link: FakeLink, cause: str) -> None:
        self.lines.append(f"{link.id} lost: {cause}")


def play(scene: Callable[[Story, Placing, list[FakeLink]], Awaitable[None]]) -> list[str]:
    story = Story()

    async def main() -> None:
        one = Placing(story)
        try:
            await scene(story, one, [FakeLink(name) for name in "abc"])
        finally:
            await one.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    return story.lines


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "LATE", Patience(1.0, 0.0))


def test_all_are_waited_for_as_long_as_they_come(no_patience) -> None:
    async def scene(story: Story, one: Placing, links: list[FakeLink]) -> None:
        for link in links:
            link.go.set()
        assert await one.place(links, {link.id: ["p"] for link in links}, {}, 3) == ()
        assert [link.taken for link in links] == [[["p"]]] * 3

    assert play(scene) == ["a ready", "b ready", "c ready"]


def test_enough_agents_do_not_wait_for_the_last_which_joins_later(no_patience) -> None:
    async def scene(story: Story, one: Placing, links: list[FakeLink]) -> None:
        links[0].go.set()
        links[2].go.set()
        assert await one.place(links, {link.id: ["p"] for link in links}, {}, 2) == ("b",)
        story.lines.append("goes on")
        links[1].go.set()
        assert await one.place(links, {link.id: ["p"] for link in links}, {}, 3) == ()

    lines = play(scene)
    assert lines[:4] == ["a ready", "c ready", "b occupied", "goes on"]
    assert lines.count("b ready") == 1  # only what was asked last makes it ready


def test_fewer_than_enough_are_waited_for(no_patience) -> None:
    async def scene(story: Story, one: Placing, links: list[FakeLink]) -> None:
        links[0].go.set()
        task = asyncio.create_task(one.place(links, {link.id: ["p"] for link in links}, {}, 2))
        await links[0].has_it.wait()
        assert not task.done()
        links[1].go.set()
        assert await task == ("c",)

    assert play(scene) == ["a ready", "b ready", "c occupied"]


def test_an_agent_that_refuses_is_lost_and_does_not_count(no_patience) -> None:
    async def scene(story: Story, one: Placing, links: list[FakeLink]) -> None:
        links[0].failure = LinkError("a", "x:1", "disk full")
        for link in links:
            link.go.set()
        assert await one.place(links, {link.id: ["p"] for link in links}, {}, 2) == ()
        assert links[0].closed

    assert sorted(play(scene)) == ["a lost: disk full", "b ready", "c ready"]


def test_when_all_refuse_nobody_is_waited_for() -> None:
    async def scene(story: Story, one: Placing, links: list[FakeLink]) -> None:
        for link in links:
            link.failure = LinkError(link.id, "x:1", "no")
            link.go.set()
        assert await one.place(links, {link.id: ["p"] for link in links}, {}, 2) == ()

    assert len(play(scene)) == 3
