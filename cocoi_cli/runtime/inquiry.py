"""Asking agents how they are, without giving them work.

Connections are kept between two rounds, so that somebody who watches does not fill the
devices' journals; an agent that was away is tried anew in each round.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

from cocoi_cli.runtime.connecting import CONNECT_S, open_living, where
from cocoi_cli.runtime.link import AgentLink
from cocoi_cli.runtime.link_errors import LinkError
from cocoi_cli.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_agent.wire.messages import Answer, Vitals
    from cocoi_cli.runtime.addresses import AgentAddress
    from cocoi_cli.runtime.inference import Link
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.trust import Identity

ANSWER_S: Final = 3.0  # an agent answers this while it computes

State = Literal["up", "down", "refused", "version"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What one agent says of itself, or why it says nothing.

    Attributes:
        id: Name in the fleet.
        state: `up`; `down`; `refused` where one side does not trust the other, or the agent says no;
            `version` where there is no common version of the protocol.
        cause: Why it is not up; empty where it is.
        software: Name and version of the agent's software; empty unless it is up.
        machine: Facts that stay, as in `Welcome`; empty unless it is up.
        round_trip_s: The shortest of a few round trips; None unless it is up.
        vitals: Facts that change; None unless it is up.
    """

    id: str
    state: State
    cause: str
    software: str
    machine: Mapping[str, str | int | float]
    round_trip_s: float | None
    vitals: Vitals | None


class Inquiry:
    """Asks a set of agents, as often as wanted; an async context manager that closes the connections."""

    def __init__(self, addresses: Sequence[AgentAddress], identity: Identity | None) -> None:
        """Name the agents; nothing is connected yet."""
        self._addresses = tuple(addresses)
        self._identity = identity
        self._links: dict[str, AgentLink] = {}

    async def __aenter__(self) -> Self:
        """Nothing happens yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        links, self._links = self._links, {}
        await asyncio.gather(*(link.aclose() for link in links.values()))

    async def ask(self, *, within_s: float = CONNECT_S) -> dict[str, Condition]:
        """Ask all agents at once; takes no longer than `within_s` and `ANSWER_S` together.

        Returns:
            By name, in the order of the addresses.

        Raises:
            BadKeysError: This host has no usable key.
        """
        missing = [address for address in self._addresses if not self._is_open(address.id)]
        fresh = {address.id: AgentLink(address.id, _Nobody()) for address in missing}
        failures = await open_living(list(fresh.values()), missing, self._identity, within_s=within_s)
        self._links |= {name: link for name, link in fresh.items() if name not in failures}
        return dict(
            await asyncio.gather(*(self._condition(address, failures.get(address.id)) for address in self._addresses))
        )

    def _is_open(self, name: str) -> bool:
        return name in self._links and self._links[name].is_open

    async def _condition(self, address: AgentAddress, failure: LinkError | None) -> tuple[str, Condition]:
        if failure is not None:
            return address.id, _absent(failure)
        link = self._links[address.id]
        try:
            async with asyncio.timeout(ANSWER_S):
                vitals = await link.vitals()
        except TimeoutError:
            await link.aclose()
            return address.id, _absent(LinkError(address.id, where(address), f"no answer within {ANSWER_S:g} s"))
        except LinkError as error:
            await link.aclose()
            return address.id, _absent(error)
        welcome, trip = link.welcome, 2 * link.clock.uncertainty_s
        return address.id, Condition(
            address.id, "up", "", one_line(welcome.software), dict(welcome.machine), trip, vitals
        )


class _Nobody:
    """Owner of links that send no work; that one breaks is noticed when it is asked again."""

    def answered(self, link: Link, answer: Answer, tensors: Sequence[AnyArray]) -> None:
        """Nothing was asked that could be answered so."""

    def lost(self, link: Link, cause: str) -> None:
        """The next question finds out."""


def _absent(error: LinkError) -> Condition:
    states: dict[str, State] = {"refused": "refused", "version": "version"}
    return Condition(error.agent, states.get(error.kind, "down"), error.cause, "", {}, None, None)
