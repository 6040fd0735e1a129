"""A deployed fleet: agents that run on devices of their own, some of which may be down.

Members that cannot be used cost a warning each, never the inference.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cocoi_cli.runtime.addresses import DOWN, DRAINED, Absentee, AgentAddress
from cocoi_cli.runtime.report import AgentReport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.runtime.addresses import Member
    from cocoi_cli.runtime.link_errors import LinkError
    from cocoi_cli.runtime.trust import Identity

MOST_WARNINGS: Final = 3  # one for each absent member up to here, beyond one for each reason
MOST_NAMES: Final = 3


@dataclass(frozen=True, slots=True)
class DeployedFleet:
    """Who belongs to the fleet, and what this host shows to them.

    Attributes:
        members: In the order of the fleet file.
        identity: Certificate and key of this host; None where no agent has a certificate either.
    """

    members: tuple[Member, ...]
    identity: Identity | None

    @property
    def addresses(self) -> tuple[AgentAddress, ...]:
        """Of the members that may be asked."""
        return tuple(member for member in self.members if isinstance(member, AgentAddress))

    def absentees(self, failures: Mapping[str, LinkError]) -> tuple[Absentee, ...]:
        """The members that take no part, in order: those that were known before, and those that did not answer.

        Args:
            failures: Member to why its link did not open.
        """
        found: list[Absentee] = []
        for member in self.members:
            if isinstance(member, Absentee):
                found.append(member)
            elif member.id in failures:
                found.append(Absentee(member.id, DOWN, failures[member.id].cause))
        return tuple(found)

    def with_absentees(self, agents: Sequence[AgentReport], absentees: Sequence[Absentee]) -> tuple[AgentReport, ...]:
        """One row per member, in order: those of the inference, and empty ones."""
        rows = {agent.id: agent for agent in agents}
        for absent in absentees:
            empty = AgentReport(absent.id, absent.state, 0, 0, 0, 0, 0, 0)
            rows[absent.id] = replace(empty, reason=absent.reason)
        members = [member.id for member in self.members]
        others = [name for name in rows if name not in members]  # the host, where it takes shares
        return tuple(rows[name] for name in (*members, *others) if name in rows)


def absence_warnings(absentees: Sequence[Absentee]) -> tuple[str, ...]:
    """Sentences about the members that are missed; of many one sentence per reason. Drained ones are not missed."""
    missed = [absent for absent in absentees if absent.state != DRAINED]
    if len(missed) <= MOST_WARNINGS:
        return tuple(f"{absent.id} is not used: {absent.reason}" for absent in missed)
    reasons: dict[str, list[str]] = defaultdict(list)
    for absent in missed:
        reasons[absent.reason].append(absent.id)
    return tuple(
        f"{_listed(names)} {'is' if len(names) == 1 else 'are'} not used: {reason}" for reason, names in reasons.items()
    )


def _listed(names: Sequence[str]) -> str:
    """`a, b and c`; of many the first ones and how many more."""
    shown = list(names[:MOST_NAMES])
    if len(names) > MOST_NAMES:
        return f"{', '.join(shown)} and {len(names) - MOST_NAMES} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
