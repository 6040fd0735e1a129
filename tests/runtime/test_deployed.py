"""Members of a fleet that take no part: their rows, and what is said about them."""

from __future__ import annotations

from pathlib import Path

from cocoi_cli.runtime.addresses import Absentee, AgentAddress
from cocoi_cli.runtime.deployed import DeployedFleet, absence_warnings
from cocoi_cli.runtime.link_errors import LinkError
from cocoi_cli.runtime.report import AgentReport


def address(name: str) -> AgentAddress:
    return AgentAddress(name, "127.0.0.1", 1, Path("x.crt"))


def missing(*names: str, reason: str = "connection refused") -> list[Absentee]:
    return [Absentee(name, "down", reason) for name in names]


def test_every_member_has_a_row_in_the_order_of_the_fleet_file() -> None:
    drained = Absentee("b", "drained", "it is drained")
    fleet = DeployedFleet((address("a"), drained, address("c"), address("d")), None)
    absent = fleet.absentees({"c": LinkError("c", "1.2.3.4:5", "no answer within 3 s")})
    assert absent == (drained, Absentee("c", "down", "no answer within 3 s"))
    rows = [AgentReport(name, "up", 7, 0, 0, 0, 8, 9) for name in ("d", "a")]
    assert [(row.id, row.state, row.used, row.reason, row.took_part) for row in fleet.with_absentees(rows, absent)] == [
        ("a", "up", 7, "", True),
        ("b", "drained", 0, "it is drained", False),
        ("c", "down", 0, "no answer within 3 s", False),
        ("d", "up", 7, "", True),
    ]


def test_a_few_missing_agents_are_named_one_by_one_and_drained_ones_not_at_all() -> None:
    absent = [*missing("a", "b"), Absentee("c", "drained", "it is drained"), *missing("d", reason="no route")]
    assert absence_warnings(absent) == (
        "a is not used: connection refused",
        "b is not used: connection refused",
        "d is not used: no route",
    )
    assert absence_warnings([]) == ()


def test_many_missing_agents_are_told_by_reason() -> None:
    absent = [*missing("a", "b"), *missing("c", "d", "e", "f", "g", reason="no route"), *missing("h", reason="odd")]
    assert absence_warnings(absent) == (
        "a and b are not used: connection refused",
        "c, d, e and 2 more are not used: no route",
        "h is not used: odd",
    )
    assert absence_warnings(missing("a", "b", "c", "d")[:3] + missing("z", reason="q"))[0] == (
        "a, b and c are not used: connection refused"
    )
