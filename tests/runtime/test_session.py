"""The session as lists: events in, instructions out."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence, Set
from dataclasses import replace
from itertools import combinations

import pytest

from cocoi_cli.runtime.codewords import Open
from cocoi_cli.runtime.events import (
    AgentJoined,
    AgentLost,
    AgentOccupied,
    AgentReady,
    CancelWork,
    Codeword,
    ComputeLocally,
    DeadlinePassed,
    DecodeStrip,
    HostComputed,
    Instruction,
    RequestCancelled,
    RequestFailed,
    SendShare,
    StageDone,
    StageStarted,
    StripArrived,
    StripFailed,
    TimePassed,
    WakeAt,
)
from cocoi_cli.runtime.session import Session


class AnyK:
    """A perfect (n, k) code, of which the session sees only the counting."""

    movable = True

    def __init__(self, n: int, k: int) -> None:
        self.shares, self.pieces, self.needed = n, k, k

    def completing(self, have: Set[int]) -> tuple[int, ...]:
        """The first shares that are not there."""
        return tuple(share for share in range(self.pieces) if share not in have)[: self.deficit(have)]

    def useful(self, share: int, arrived: Set[int]) -> bool:
        return share not in arrived

    def deficit(self, arrived: Set[int]) -> int:
        return max(0, self.pieces - len(arrived))

    def ready(self, arrived: Set[int]) -> bool:
        return len(arrived) >= self.pieces


AGENTS = [f"a{index}" for index in range(6)]


def stage(code: AnyK, strips: int, group: int = 1, first: int = 0, fallback: bool = True) -> StageStarted:
    homes = tuple(AGENTS[: code.shares])
    return StageStarted(
        tuple(
            Codeword(first + order, group, order, strips, code, homes, frozenset({1}), fallback)
            for order in range(strips)
        )
    )


def sent(out: Sequence[Instruction]) -> list[tuple[str, int, int]]:
    return [(item.agent, item.codeword, item.share) for item in out if isinstance(item, SendShare)]


def test_agents_start_at_different_strips_and_no_share_is_redundant() -> None:
    """Six agents, k = 4, three strips: twelve shares are wanted, six go out first, two per strip."""
    session = Session(AGENTS)
    out = session.handle(stage(AnyK(6, 4), 3), 0.0)
    assert sent(out) == [("a0", 0, 0), ("a1", 0, 1), ("a2", 1, 2), ("a3", 1, 3), ("a4", 2, 4), ("a5", 2, 5)]


def test_a_free_agent_takes_the_strip_that_lacks_most() -> None:
    session = Session(AGENTS)
    session.handle(stage(AnyK(6, 4), 3), 0.0)
    assert sent(session.handle(StripArrived("a0", 0, 0), 1.0)) == [("a0", 1, 0)]
    assert sent(session.handle(StripArrived("a1", 0, 1), 1.0)) == [("a1", 2, 1)]
    assert sent(session.handle(StripArrived("a2", 1, 2), 1.0)) == [("a2", 0, 2)]


def test_decodes_at_the_kth_answer_and_ends_the_stage_once() -> None:
    session = Session(AGENTS[:3])
    session.handle(stage(AnyK(3, 2), 1), 0.0)
    assert session.handle(StripArrived("a0", 0, 0), 1.0) == [WakeAt(1.5)]
    out = session.handle(StripArrived("a1", 0, 1), 1.0)
    assert out == [DecodeStrip(0, (0, 1)), StageDone(1)]


def test_cancels_the_straggler_once_k_have_answered() -> None:
    session = Session(AGENTS[:3])
    session.handle(stage(AnyK(3, 2), 1), 0.0)  # a0 and a1 hold it, a2 is spare
    session.handle(StripArrived("a0", 0, 0), 1.0)
    assert sent(session.handle(TimePassed(), 1.6)) == [("a2", 0, 2)]
    out = session.handle(StripArrived("a2", 0, 2), 2.0)
    assert out == [DecodeStrip(0, (0, 2)), CancelWork("a1", 0, 1), StageDone(1)]


def test_no_redundant_share_before_its_holder_is_late() -> None:
    session = Session(AGENTS[:3])
    assert sent(session.handle(stage(AnyK(3, 2), 1), 0.0)) == [("a0", 0, 0), ("a1", 0, 1)]
    assert sent(session.handle(StripArrived("a0", 0, 0), 1.0)) == []
    assert sent(session.handle(TimePassed(), 1.49)) == []
    assert sent(session.handle(TimePassed(), 1.5)) == [("a2", 0, 2)]


def test_a_late_answer_is_ignored_but_frees_its_agent() -> None:
    session = Session(AGENTS[:3])
    session.handle(stage(AnyK(3, 2), 1), 0.0)
    session.handle(StripArrived("a0", 0, 0), 1.0)
    session.handle(TimePassed(), 1.5)
    session.handle(StripArrived("a2", 0, 2), 2.0)
    out = session.handle(stage(AnyK(3, 2), 1, group=2, first=1), 2.1)
    assert sent(out) == [("a0", 1, 0), ("a2", 1, 2)]  # a1 is still busy with what nobody wants
    assert sent(session.handle(StripArrived("a1", 0, 1), 2.2)) == []


def test_a_straggler_from_the_last_stage_is_not_waited_for_without_redundancy() -> None:
    """Uncoded: the share of an agent that is held up goes to one that is free."""
    session = Session(AGENTS[:3])
    session.handle(stage(AnyK(3, 2), 1), 0.0)
    session.handle(StripArrived("a0", 0, 0), 1.0)
    session.handle(TimePassed(), 1.5)
    session.handle(StripArrived("a2", 0, 2), 2.0)
    session.handle(stage(AnyK(3, 3), 1, group=2, first=1), 2.1)
    assert sent(session.handle(StripArrived("a0", 1, 0), 3.0)) == [("a0", 1, 1)]


def test_a_lost_agent_is_replaced_by_a_spare_share() -> None:
    session = Session(AGENTS[:3])
    session.handle(stage(AnyK(3, 2), 1), 0.0)
    assert session.handle(AgentLost("a1"), 0.1) == [SendShare("a2", 0, 2)]


def test_below_k_living_agents_the_shares_are_resent_to_the_living() -> None:
    session = Session(AGENTS[:3])
    session.handle(stage(AnyK(3, 2), 1), 0.0)
    session.handle(AgentLost("a1"), 0.1)
    session.handle(AgentLost("a2"), 0.1)
    assert sent(session.handle(StripArrived("a0", 0, 0), 1.0)) == [("a0", 0, 1)]
    assert session.handle(StripArrived("a0", 0, 1), 2.0) == [DecodeStrip(0, (0, 1)), StageDone(1)]


def test_without_agents_the_host_computes_what_is_missing() -> None:
    session = Session(AGENTS[:2])
    session.handle(stage(AnyK(2, 2), 1), 0.0)
    session.handle(StripArrived("a1", 0, 1), 1.0)
    session.handle(AgentLost("a0"), 1.0)
    assert session.handle(AgentLost("a1"), 1.1) == [ComputeLocally(0, (0,))]
    assert session.handle(HostComputed(0, (0,)), 1.5) == [DecodeStrip(0, (1, 0)), StageDone(1)]


def test_a_stage_that_starts_without_agents_is_computed_by_the_host() -> None:
    session = Session(AGENTS[:1])
    session.handle(AgentLost("a0"), 0.0)
    assert session.handle(stage(AnyK(1, 1), 2), 0.0) == [ComputeLocally(0, (0,)), ComputeLocally(1, (0,))]


@pytest.mark.parametrize("lost", [2, 3])
def test_without_fallback_fewer_than_k_agents_fail_the_request_once(lost: int) -> None:
    session = Session(AGENTS[:3])
    session.handle(stage(AnyK(3, 2), 2, fallback=False), 0.0)
    out: list[Instruction] = []
    for agent in AGENTS[:lost]:
        out += [item for item in session.handle(AgentLost(agent), 0.1) if isinstance(item, RequestFailed)]
    assert out == [RequestFailed(1, 1, 2, overdue=False)]


def test_without_fallback_no_agent_at_all_is_told_apart() -> None:
    session = Session(AGENTS[:1])
    session.handle(AgentLost("a0"), 0.0)
    assert session.handle(stage(AnyK(1, 1), 1, fallback=False), 0.0) == [RequestFailed(1, 0, 1, overdue=False)]


def test_after_the_deadline_the_host_takes_over_and_agents_get_nothing_more() -> None:
    session = Session(AGENTS[:3])
    session.handle(stage(AnyK(3, 2), 2), 0.0)
    out = session.handle(DeadlinePassed(1), 9.0)
    assert [item for item in out if isinstance(item, ComputeLocally)] == [
        ComputeLocally(0, (0, 1)),
        ComputeLocally(1, (0, 1)),
    ]
    assert sent(session.handle(StripArrived("a0", 0, 0), 9.1)) == []
    assert DecodeStrip(0, (0, 1)) in session.handle(HostComputed(0, (0, 1)), 9.2)


def test_an_answer_that_overtakes_the_host_wins() -> None:
    session = Session(AGENTS[:2])
    session.handle(stage(AnyK(2, 1), 1), 0.0)
    session.handle(DeadlinePassed(1), 9.0)
    assert session.handle(StripArrived("a0", 0, 0), 9.1) == [DecodeStrip(0, (0,)), StageDone(1)]
    assert session.handle(HostComputed(0, (0,)), 9.2) == []


def test_after_the_deadline_without_fallback_the_request_fails() -> None:
    session = Session(AGENTS[:3])
    session.handle(stage(AnyK(3, 2), 1, fallback=False), 0.0)
    out = session.handle(DeadlinePassed(1), 9.0)
    assert RequestFailed(1, 0, 2, overdue=True) in out
    assert CancelWork("a0", 0, 0) in out


def test_an_agent_that_refuses_gets_nothing_more_in_this_stage() -> None:
    session = Session(AGENTS[:3])
    session.handle(stage(AnyK(3, 2), 2), 0.0)
    out = session.handle(StripFailed("a0", 0, 0, "out-of-memory"), 0.1)
    assert "a0" not in {agent for agent, _, _ in sent(out)}
    for agent in AGENTS[1:3]:
        out = session.handle(AgentLost(agent), 0.2)
    assert {type(item) for item in out} == {ComputeLocally}


def test_a_duplicate_answer_changes_nothing() -> None:
    session = Session(AGENTS[:3])
    session.handle(stage(AnyK(3, 2), 1), 0.0)
    session.handle(StripArrived("a0", 0, 0), 1.0)
    assert not any(isinstance(item, DecodeStrip) for item in session.handle(StripArrived("a0", 0, 0), 1.1))


def test_cancelling_one_request_keeps_a_codeword_that_others_wait_for() -> None:
    session = Session(AGENTS[:2])
    shared = Codeword(0, 1, 0, 1, AnyK(2, 2), ("a0", "a1"), frozenset({1, 2}))
    session.handle(StageStarted((shared,)), 0.0)
    assert session.handle(RequestCancelled(1), 0.1) == []
    out = session.handle(RequestCancelled(2), 0.2)
    assert out == [CancelWork("a0", 0, 0), CancelWork("a1", 0, 1)]
    assert session.handle(StripArrived("a0", 0, 0), 0.3) == []


@pytest.mark.parametrize("lost", [*combinations(range(5), 2), *combinations(range(5), 5), *combinations(range(5), 4)])
def test_any_loss_at_any_moment_ends_with_a_decoded_stage(lost: tuple[int, ...]) -> None:
    """A seeded toy fleet: answers, losses, refusals and late agents in random order; it always ends."""
    for seed in range(12):
        play(random.Random(seed * 7919 + sum(lost)), {AGENTS[index] for index in lost}, AnyK(5, 3))


@pytest.mark.parametrize("frozen", [*combinations(range(5), 2), *combinations(range(5), 4)])
@pytest.mark.parametrize("k", [3, 5])
def test_agents_that_freeze_at_any_moment_are_worked_around(frozen: tuple[int, ...], k: int) -> None:
    for seed in range(12):
        names = {AGENTS[index] for index in frozen}
        play(random.Random(seed * 104729 + sum(frozen)), set(), AnyK(5, k), frozen=names)


def assert_invariants(session: Session) -> None:
    """What must hold between any two events."""
    held = {(agent, *key) for agent, keys in session._agents.held.items() for key in keys}
    for number, state in session._open.items():
        assert len(set(state.arrived)) == len(state.arrived)
        assert not state.hosted & set(state.arrived)
        for agent, share in state.flying:
            assert agent in session.living
            assert (agent, number, share) in held
        if state.is_provided(session._now):  # what saves looking at it must not be wrong
            assert state.word.code.deficit(state.expected(session._now)) == 0
        assert state.next_overdue(session._now) == next_overdue_slowly(state, session._now)
    assert all(len(keys) <= session._agents.window for keys in session._agents.held.values())
    assert sum(group.left for group in session._groups.values()) == len(session._open)


def next_overdue_slowly(state: Open, now: float) -> float:
    limits = (state.group.late_s, state.group.hopeless_s)
    moments = [sent + limit for sent in state.flying.values() for limit in limits]
    return min((moment for moment in moments if moment > now), default=math.inf)


def play(rng: random.Random, doomed: set[str], code: AnyK, frozen: frozenset[str] | set[str] = frozenset()) -> None:
    agents = AGENTS[:5]
    session = Session(agents)
    flying: list[tuple[str, int, int]] = []
    hosting: list[tuple[int, tuple[int, ...]]] = []
    decoded: list[int] = []
    done: list[int] = []
    now = 0.0
    patience = {agent: rng.randrange(8) for agent in agents}

    def carry_out(out: list[Instruction]) -> None:
        for item in out:
            match item:
                case SendShare(agent, codeword, share):
                    assert agent in session.living
                    flying.append((agent, codeword, share))
                case ComputeLocally(codeword, shares):
                    hosting.append((codeword, shares))
                case DecodeStrip(codeword, shares):
                    assert codeword not in decoded
                    assert len(set(shares)) >= code.pieces
                    decoded.append(codeword)
                case StageDone(group):
                    done.append(group)
                case _:
                    pass
        assert_invariants(session)

    carry_out(session.handle(stage(code, 4), now))
    steps = 0
    while not done:
        steps += 1
        assert steps < 500, session
        now += 0.3
        ready = [item for item in flying if item[0] not in frozen or steps < patience[item[0]]]
        moves = ["time"] + ["lose"] * bool(doomed) + ["answer"] * 3 * bool(ready) + ["host"] * bool(hosting)
        match rng.choice(moves):
            case "lose":
                agent = rng.choice(sorted(doomed))
                doomed.discard(agent)
                flying[:] = [item for item in flying if item[0] != agent]
                carry_out(session.handle(AgentLost(agent), now))
            case "answer":
                agent, codeword, share = rng.choice(ready)
                flying.remove((agent, codeword, share))
                refused = rng.random() < 0.1
                event = (StripFailed(agent, codeword, share, "refused") if refused
                         else StripArrived(agent, codeword, share))  # fmt: skip
                carry_out(session.handle(event, now))
            case "host":
                carry_out(session.handle(HostComputed(*hosting.pop()), now))
            case _:
                carry_out(session.handle(TimePassed(), now))
    assert sorted(decoded) == [0, 1, 2, 3]
    assert done == [1]


@pytest.mark.parametrize("fallback", [True, False])
def test_a_survivor_that_still_computes_what_nobody_wants_is_waited_for(fallback: bool) -> None:
    """It is late for its old share, but will be free: neither the host nor a failure may come first."""
    session = Session(AGENTS[:2])
    session.handle(stage(AnyK(2, 1), 1, fallback=fallback), 0.0)  # a0 holds it
    session.handle(StripArrived("a0", 0, 0), 0.1)
    session.handle(stage(AnyK(2, 1), 1, group=2, first=1, fallback=fallback), 0.2)  # a0 again
    assert sent(session.handle(StripArrived("a0", 1, 0), 0.3)) == []
    session.handle(stage(AnyK(2, 1), 2, group=3, first=2, fallback=fallback), 0.4)  # a0 one strip, a1 the other
    session.handle(StripArrived("a0", 2, 0), 0.5)
    session.handle(TimePassed(), 0.6)  # a1 is late: a0 doubles it
    assert StageDone(3) in session.handle(StripArrived("a0", 3, 0), 0.7)
    session.handle(AgentLost("a0"), 0.8)
    assert session.handle(stage(AnyK(2, 1), 1, group=4, first=4, fallback=fallback), 0.9) == [WakeAt(1.4)]
    assert sent(session.handle(StripArrived("a1", 3, 1), 1.0)) == [("a1", 4, 1)]


def test_a_survivor_that_never_lets_go_is_given_up_by_a_host_that_may_help() -> None:
    session = Session(AGENTS[:2])
    session.handle(stage(AnyK(2, 1), 2), 0.0)
    session.handle(StripArrived("a0", 0, 0), 0.1)
    session.handle(TimePassed(), 0.2)
    session.handle(StripArrived("a0", 1, 0), 0.3)
    session.handle(AgentLost("a0"), 0.4)
    assert session.handle(stage(AnyK(2, 1), 1, group=2, first=2), 0.5) == [WakeAt(1.0)]
    assert session.handle(TimePassed(), 1.0) == [ComputeLocally(2, (0,))]


# --- agents that do something else -----------------------------------------------------------


def shares_of(out: Sequence[Instruction]) -> dict[str, int]:
    return {agent: share for agent, _, share in sent(out)}


def test_an_occupied_agent_gets_nothing_and_others_take_its_share() -> None:
    session = Session(AGENTS[:4])
    assert session.handle(AgentOccupied("a1"), 0.0) == []
    shares = shares_of(session.handle(stage(AnyK(4, 4), 1), 0.0))
    assert set(shares) == {"a0", "a2", "a3"}
    session.handle(StripArrived("a0", 0, shares["a0"]), 0.1)
    session.handle(StripArrived("a2", 0, shares["a2"]), 0.1)
    # Its own share is the one that is left to do: whoever is free computes it, without waiting for its home.
    again = {each.share for each in session.handle(TimePassed(), 0.1) if isinstance(each, SendShare)}
    held = {share for _, share in session._open[0].flying}
    assert 1 in again | held


def test_an_agent_that_becomes_ready_is_given_work_at_once() -> None:
    session = Session(AGENTS[:4])
    session.handle(AgentOccupied("a1"), 0.0)
    first = shares_of(session.handle(stage(AnyK(4, 3), 6), 0.0))
    assert "a1" not in first
    assert set(shares_of(session.handle(AgentReady("a1"), 0.01))) == {"a1"}
    assert session.handle(AgentReady("a1"), 0.02) == []


def test_when_all_agents_are_occupied_the_host_computes_after_a_while() -> None:
    session = Session(AGENTS[:2])
    for agent in AGENTS[:2]:
        session.handle(AgentOccupied(agent), 0.0)
    out = session.handle(stage(AnyK(2, 1), 1), 0.0)
    assert [type(each) for each in out] == [WakeAt]
    assert [type(each) for each in session.handle(TimePassed(), out[0].moment_s)] == [ComputeLocally]


def test_an_occupied_agent_that_is_lost_stays_lost() -> None:
    session = Session(AGENTS[:2])
    session.handle(AgentOccupied("a0"), 0.0)
    session.handle(AgentLost("a0"), 0.0)
    assert session.handle(AgentReady("a0"), 0.0) == []
    assert set(shares_of(session.handle(stage(AnyK(2, 1), 1), 0.0))) == {"a1"}


# --- eager, patient and rateless codewords; agents that join; slow agents -----------------------


def words(code: AnyK, strips: int, **fields: object) -> StageStarted:
    """A stage whose codewords have these fields."""
    event = stage(code, strips)
    return StageStarted(tuple(replace(word, **fields) for word in event.codewords))


def test_an_eager_stage_sends_every_share_to_its_home_at_once_and_none_twice() -> None:
    session = Session(AGENTS)
    out = session.handle(words(AnyK(6, 4), 1, eager=True), 0.0)
    assert sent(out) == [(f"a{index}", 0, index) for index in range(6)]
    for index in range(3):
        assert sent(session.handle(StripArrived(f"a{index}", 0, index), 0.1)) == []
    out = session.handle(StripArrived("a5", 0, 5), 0.2)
    assert DecodeStrip(0, (0, 1, 2, 5)) in out
    assert CancelWork("a3", 0, 3) in out
    assert StageDone(1) in out


def test_a_patient_stage_doubles_nothing_that_is_only_late() -> None:
    session = Session(AGENTS[:3])
    session.handle(words(AnyK(3, 3), 1, patient=True), 0.0)
    session.handle(StripArrived("a0", 0, 0), 0.1)
    session.handle(StripArrived("a1", 0, 1), 0.1)
    assert sent(session.handle(TimePassed(), 0.5)) == []  # 5 times the median: late, not hopeless
    assert sent(session.handle(TimePassed(), 1.2)) == [("a0", 0, 2)]


def test_a_patient_stage_sends_again_what_a_lost_agent_held() -> None:
    session = Session(AGENTS[:3])
    session.handle(words(AnyK(3, 3), 1, patient=True), 0.0)
    session.handle(StripArrived("a0", 0, 0), 0.1)
    assert sent(session.handle(AgentLost("a1"), 0.2)) == [("a0", 0, 1)]


class Fountain(AnyK):
    """Rateless: any k answers to shares from k on."""

    def __init__(self, k: int) -> None:
        super().__init__(k, k)
        self.shares = None  # type: ignore[assignment] - the point of it

    def deficit(self, arrived: Set[int]) -> int:
        return max(0, self.pieces - len(arrived))


def test_a_rateless_code_gives_each_agent_a_share_that_nobody_has() -> None:
    session = Session(AGENTS[:3])
    code = Fountain(5)
    event = StageStarted((Codeword(0, 1, 0, 1, code, tuple(AGENTS[:3]), frozenset({1})),))
    given = sent(session.handle(event, 0.0))
    assert [share for _, _, share in given] == [5, 6, 7]
    done: list[int] = []
    for turn in range(5):
        agent, _, share = given.pop(0)
        out = session.handle(StripArrived(agent, 0, share), 0.1 + turn / 100)
        given += sent(out)
        done += [1 for item in out if isinstance(item, StageDone)]
    assert done == [1]
    assert len({share for _, _, share in given}) == len(given)


def test_a_rateless_code_without_agents_is_completed_by_the_host() -> None:
    session = Session(AGENTS[:1])
    event = StageStarted((Codeword(0, 1, 0, 1, Fountain(3), tuple(AGENTS[:1]), frozenset({1})),))
    session.handle(event, 0.0)
    assert ComputeLocally(0, (0, 1, 2)) in session.handle(AgentLost("a0"), 0.1)


class AtHome(AnyK):
    """Only the home of a share can compute it."""

    movable = False


def test_what_only_its_home_can_compute_is_not_sent_elsewhere() -> None:
    session = Session(AGENTS[:3])
    session.handle(stage(AtHome(3, 3), 1), 0.0)
    session.handle(StripArrived("a0", 0, 0), 0.1)
    out = session.handle(AgentLost("a1"), 0.2)
    assert sent(out) == []
    assert ComputeLocally(0, (1,)) in session.handle(StripArrived("a2", 0, 2), 0.2)


def test_an_agent_that_joins_is_given_work_at_once() -> None:
    session = Session(AGENTS[:2])
    session.handle(AgentLost("a1"), 0.0)
    session.handle(stage(AnyK(3, 3), 1), 0.0)
    assert sent(session.handle(AgentJoined("a2"), 0.1)) == [("a2", 0, 2)]  # it was never there before
    assert sent(session.handle(AgentJoined("a1"), 0.2)) == [("a1", 0, 1)]  # it was lost before
    assert session.living == {"a0", "a1", "a2"}


def test_given_answers_count_and_may_suffice() -> None:
    session = Session(AGENTS[:3])
    out = session.handle(words(AnyK(3, 2), 1, given=(0,)), 0.0)
    assert sent(out) == [("a1", 0, 1)]
    other = Session(AGENTS[:3])
    out = other.handle(words(AnyK(3, 2), 1, given=(0, 2)), 0.0)
    assert out[:2] == [DecodeStrip(0, (0, 2)), StageDone(1)]


def test_however_much_is_lacking_each_agent_holds_one_share() -> None:
    session = Session(AGENTS[:3])
    out = session.handle(stage(AnyK(3, 3), 4), 0.0)  # 12 shares for three agents
    assert [sum(agent == each for agent, _, _ in sent(out)) for each in AGENTS[:3]] == [1, 1, 1]


def play_timed(session: Session, code: AnyK, strips: int, speeds: dict[str, float], now: float) -> float:
    """Play one stage with agents that take a fixed time each; returns when it ended."""
    queue: dict[str, list[tuple[int, int]]] = {agent: [] for agent in speeds}
    ends: dict[str, float] = {}

    def take(out: Sequence[Instruction]) -> bool:
        for item in out:
            if isinstance(item, SendShare):
                queue[item.agent].append((item.codeword, item.share))
                if len(queue[item.agent]) == 1:
                    ends[item.agent] = now + speeds[item.agent]
        return any(isinstance(item, StageDone) for item in out)

    first = 1000 * int(now) + 1
    event = StageStarted(
        tuple(Codeword(first + i, first, i, strips, code, tuple(speeds), frozenset({1})) for i in range(strips))
    )
    over = take(session.handle(event, now))
    while not over:
        agent = min(ends, key=lambda name: ends[name])
        now = ends.pop(agent)
        codeword, share = queue[agent].pop(0)
        if queue[agent]:
            ends[agent] = now + speeds[agent]
        over = take(session.handle(StripArrived(agent, codeword, share), now))
    return now


def test_a_slow_agent_is_left_out_once_it_is_known_and_comes_back_when_it_is_quick_again() -> None:
    """One strip for each: with the slow one the stage would take its time; without it two rounds of the others."""
    speeds = {"a0": 1.0, "a1": 1.0, "a2": 1.0, "a3": 5.0}
    session = Session(list(speeds))
    now, walls = 0.0, []
    for _ in range(6):
        end = play_timed(session, AnyK(4, 4), 2, speeds, now)
        walls.append(end - now)
        now = math.ceil(end) + 20.0  # by then the slow one has answered what nobody waits for
        for key in list(session._agents.held["a3"]):
            session.handle(StripArrived("a3", *key), now)
    assert walls[-1] <= 4.0
    assert session._agents.pace.of("a3") > 1.8
    speeds["a3"] = 1.0
    for _ in range(40):
        end = play_timed(session, AnyK(4, 4), 2, speeds, now)
        walls.append(end - now)
        now = math.ceil(end) + 20.0
    assert session._agents.pace.of("a3") < 1.8
    assert walls[-1] == pytest.approx(2.0)


def test_a_slow_agent_is_left_out_until_others_are_late_though_the_clock_saw_answers_take_no_time() -> None:
    session = Session(AGENTS[:3])
    held = {agent: (codeword, share) for agent, codeword, share in sent(session.handle(stage(AnyK(3, 3), 2), 5.0))}
    session._agents.pace.overdue("a2", 4.0)
    assert set(shares_of(session.handle(StripArrived("a0", *held["a0"]), 5.0))) == {"a0"}
    assert session._open[held["a0"][0]].group.typical_s == 0.0
    assert sent(session.handle(StripArrived("a2", *held["a2"]), 5.0)) == []  # two shares are left, and two others
    assert set(shares_of(session.handle(TimePassed(), 5.02))) == {"a2"}  # which are late now


def test_a_late_answer_to_what_was_given_up_before_anybody_had_answered_teaches_nothing() -> None:
    session = Session(AGENTS[:2])
    session.handle(stage(AnyK(2, 2), 1), 0.0)
    session.handle(RequestCancelled(1), 1.0)
    session.handle(StripArrived("a0", 0, 0), 60.0)
    assert session._agents.pace.of("a0") == 1.0


def test_a_late_answer_teaches_by_the_time_that_was_usual_when_its_share_was_given_up() -> None:
    session = Session(AGENTS[:2])
    session.handle(stage(AnyK(2, 2), 1), 0.0)
    session.handle(StripArrived("a1", 0, 1), 1.0)
    session.handle(RequestCancelled(1), 1.0)
    session.handle(StripArrived("a0", 0, 0), 11.0)
    assert session._agents.pace.of("a0") == pytest.approx(1.0 + 0.3 * (11.0 - 1.0))


def test_an_agent_that_joins_though_nobody_saw_it_go_is_given_anew_what_it_held() -> None:
    session = Session(AGENTS[:3])
    session.handle(stage(AnyK(3, 3), 1), 0.0)
    session.handle(StripArrived("a1", 0, 1), 0.1)
    assert sent(session.handle(AgentJoined("a0"), 0.12)) == [("a0", 0, 0)]
    assert_invariants(session)
    session.handle(StripArrived("a2", 0, 2), 0.13)
    assert StageDone(1) in session.handle(StripArrived("a0", 0, 0), 0.14)


def test_an_agent_that_joins_though_nobody_saw_it_go_is_told_to_drop_nothing_of_before() -> None:
    session = Session(AGENTS[:2])
    session.handle(stage(AnyK(2, 2), 1), 0.0)
    session.handle(AgentOccupied("a0"), 0.1)
    session.handle(DeadlinePassed(1), 0.2)  # nobody gets anything more
    session.handle(AgentJoined("a0"), 0.3)
    assert_invariants(session)
    assert session.handle(RequestCancelled(1), 0.4) == [CancelWork("a1", 0, 1)]
    assert set(shares_of(session.handle(stage(AnyK(2, 1), 1, group=2, first=1), 0.5))) == {"a0"}
