"""Every scheme under the real session: agents answer at once, are slow, or die; the stage ends decodable."""

from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.codes.code import Code
from cocoi_cli.codes.registry import default_pieces, make_code, schemes, traits
from cocoi_cli.runtime.events import (
    AgentLost,
    Codeword,
    ComputeLocally,
    DecodeStrip,
    HostComputed,
    Instruction,
    SendShare,
    StageDone,
    StageStarted,
    StripArrived,
    TimePassed,
    WakeAt,
)
from cocoi_cli.runtime.session import Session

AGENTS = tuple(f"pi-{number}" for number in range(1, 7))
CODES = [*((scheme, 1) for scheme in schemes()), ("fcdcc", 4)]


def code_for(scheme: str, filters: int) -> Code:
    return make_code(scheme, 6, default_pieces(scheme, 6), gain_limit=1000, filters=filters)


def play(code: Code, seed: int, dead: int, slow: int) -> tuple[list[Instruction], int]:
    """One stage of three strips with agents of random speed; return all that was instructed, and what was sent."""
    rng = np.random.default_rng(seed)
    speed = {agent: float(rng.uniform(0.8, 1.2)) for agent in AGENTS}
    speed.update({AGENTS[at]: 50.0 for at in rng.choice(6, slow, replace=False).tolist()})
    session, found, sent = Session(AGENTS), found_nothing(), 0
    kind = traits(code.name)
    words = tuple(
        Codeword(
            *(number, 1, number, 3, code, AGENTS, frozenset({1})),
            eager=kind.eager,
            patient=kind.patient,
        )
        for number in range(3)
    )
    queue: list[tuple[float, int, object]] = [(0.0, 0, StageStarted(words))]
    queue += [(0.5, 1 + at, AgentLost(agent)) for at, agent in enumerate(rng.permutation(AGENTS)[:dead].tolist())]
    lost, count = set(), 10
    while queue:
        queue.sort(key=lambda item: item[:2])
        now, _, event = queue.pop(0)
        if isinstance(event, AgentLost):
            lost.add(event.agent)
        if isinstance(event, StripArrived) and event.agent in lost:
            continue
        for instruction in session.handle(event, now):
            found.append(instruction)
            count += 1
            match instruction:
                case SendShare(agent, codeword, share):
                    sent += 1
                    queue.append((now + speed[agent], count, StripArrived(agent, codeword, share)))
                case ComputeLocally(codeword, shares):
                    queue.append((now + 2.0, count, HostComputed(codeword, shares)))
                case WakeAt(moment):
                    queue.append((moment, count, TimePassed()))
        if any(isinstance(instruction, StageDone) for instruction in found):
            return found, sent
    raise AssertionError(session)


def found_nothing() -> list[Instruction]:
    return []


@pytest.mark.parametrize(("scheme", "filters"), CODES)
@pytest.mark.parametrize(("dead", "slow"), [(0, 0), (1, 0), (0, 2), (2, 1), (6, 0)])
def test_every_strip_is_decoded_whatever_happens_to_the_agents(scheme: str, filters: int, dead: int, slow: int) -> None:
    code = code_for(scheme, filters)
    for seed in range(5):
        found, _ = play(code, seed, dead, slow)
        decoded = [instruction for instruction in found if isinstance(instruction, DecodeStrip)]
        assert sorted(instruction.codeword for instruction in decoded) == [0, 1, 2]
        assert all(code.ready(set(instruction.shares)) for instruction in decoded)


@pytest.mark.parametrize("scheme", ["lt", "hedged", "uncoded", "coded"])
def test_nothing_is_sent_that_nobody_needs_while_all_are_well(scheme: str) -> None:
    code = code_for(scheme, 1)
    _, sent = play(code, seed=1, dead=0, slow=0)
    assert sent <= 3 * code.needed + (3 if scheme == "lt" else 0)


def test_coded_filters_are_computed_at_their_home_only() -> None:
    found, _ = play(code_for("fcdcc", 4), seed=2, dead=2, slow=1)
    sent = [instruction for instruction in found if isinstance(instruction, SendShare)]
    assert all(AGENTS.index(instruction.agent) == instruction.share for instruction in sent)
