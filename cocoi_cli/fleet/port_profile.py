"""Measuring the port of this host: what all agents carry at once, which none of them can show alone.

A single device's transfer is as slow as that device; the host's port is shared by all of them and may be quicker than
any. Where it is taken for as slow as the quickest device, answers of ten devices seem to queue that do not.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from cocoi_cli.fleet.agent_shares import WIDE, load, noise
from cocoi_cli.planning.profile import Port, Samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.fleet.agent_shares import Hub, Timed
    from cocoi_cli.runtime.link import AgentLink
    from cocoi_cli.runtime.report import AnyArray

MOST: Final = 16  # agents: more do not fill a port any better
IN_A_ROW: Final = 3  # shares of each, so that none is idle while the last of the others begins
SHORTEST_S: Final = 1e-6


async def measure_port(hub: Hub, links: Sequence[AgentLink], rounds: int) -> Port:
    """Time a megabyte to and from many agents at once, some in a row.

    Args:
        hub: Owner of the links.
        links: To idle agents, at least one.
        rounds: How often.

    Raises:
        LinkError: If an agent is lost or fails.
    """
    links = links[:MOST]
    thin = [await load(link, 1, WIDE[1], 1) for link in links]
    thick = [await load(link, 1, 1, WIDE[1]) for link in links]
    wide, narrow = noise(WIDE), noise((1, 1, *WIDE[2:]))
    up, down = [], []
    for _ in range(rounds):
        start = time.monotonic()
        sent = await _all(hub, links, thin, wide)
        up.append(max(received_s(link, each) for link, each in sent) - start)
        came = await _all(hub, links, thick, narrow)
        down.append(max(each.here_s for _, each in came) - min(finished_s(link, each) for link, each in came))
    size = wide.nbytes * IN_A_ROW * len(links)
    samples = [Samples(size, tuple(max(each, SHORTEST_S) for each in seconds)) for seconds in (up, down)]
    return Port(len(links), *samples)


async def _all(
    hub: Hub, links: Sequence[AgentLink], programs: Sequence[str], x: AnyArray
) -> list[tuple[AgentLink, Timed]]:
    """Some shares to each agent, all at once."""
    pairs = [pair for pair in zip(links, programs, strict=True) for _ in range(IN_A_ROW)]
    answers = await asyncio.gather(*(hub.send(link, program, x, "f16") for link, program in pairs))
    return [(link, each) for (link, _), each in zip(pairs, answers, strict=True)]


def received_s(link: AgentLink, each: Timed) -> float:
    """When an agent had the whole share, on this host's clock."""
    return each.answer.received_s - link.clock.offset_s


def finished_s(link: AgentLink, each: Timed) -> float:
    """When an agent had computed a share, on this host's clock."""
    return each.answer.finished_s - link.clock.offset_s
