"""Plans that have everything, carried out by real agent processes, some of which are killed or start again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cocoi_cli.api import Fleet, Options
from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.network import LoadedModel
from cocoi_cli.planning.plan import Plan
from cocoi_cli.runtime import returning
from cocoi_cli.runtime.report import InferenceReport
from tests.runtime.small_network import picture, small_network
from tests.runtime.small_planned import KINDS, input_of, planned_network, rich_plan
from tests.system.processes import PATIENCE_S, unexpected, until
from tests.system.shelf import Shelf

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet.embedded(3) as made:
        yield made


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: planned_network(folder, kind) for kind in KINDS}


def plan_for(model: LoadedModel, kind: str, transport: str) -> Plan:
    """For three agents and the host."""
    return rich_plan(find_layers(model, {"image": (1, 3, 32, 32)}), kind, n=4, transport=transport)


def right(report: InferenceReport) -> bool:
    return report.check is not None and report.check.passed and report.check.top1_equal is True


@pytest.mark.parametrize("transport", ["f32", "f16"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_plan_is_obeyed_and_right(fleet, models, kind, transport) -> None:
    model = models[kind]
    options = Options(plan=plan_for(model, kind, transport), check=True)
    for seed in (4, 5):
        report = fleet.infer(model, input_of(seed), options=options)
        assert right(report)
        assert unexpected(report.warnings) == []
        rows = [row for row in report.stages if row.kind != "local"]
        assert {(row.kind, row.scheme) for row in rows} == {("fused", "hedged"), ("conv", "coded"), ("conv", "hedged")}
        assert sum(row.host for row in rows) == 0
        assert [agent.id for agent in report.agents] == ["agent-1", "agent-2", "agent-3", "host"]
        assert sum(agent.used for agent in report.agents) == sum(row.arrived for row in rows)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_its_answers_can_be_verified(fleet, models, kind) -> None:
    report = fleet.infer(models[kind], input_of(), options=Options(plan=plan_for(models[kind], kind, "f16"), verify=2))
    assert report.verification is not None
    assert report.verification.passed
    assert report.verification.codewords == sum(row.strips for row in report.stages)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_agents_killed_in_the_middle_change_only_the_tables(models, kind) -> None:
    model = models[kind]
    with Fleet.embedded(3) as fleet:
        for kill in (1, 2):
            options = Options(plan=plan_for(model, kind, "f16"), check=True, kill=kill)
            assert right(fleet.infer(model, input_of(), options=options))
        report = fleet.infer(model, input_of(), options=Options(plan=plan_for(model, kind, "f16"), check=True))
    assert right(report)
    assert {agent.state for agent in report.agents if agent.id != "host"} == {"killed"}


def test_an_agent_that_was_killed_and_started_again_takes_part(tmp_path, repository, monkeypatch) -> None:
    monkeypatch.setattr(returning, "FIRST_WAIT_S", 0.0)
    monkeypatch.setattr(returning, "LONGEST_WAIT_S", 0.1)
    monkeypatch.setenv("COCOI_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COCOI_CACHE", str(tmp_path / "cache"))
    model = small_network(tmp_path)
    shelf = Shelf(repository, tmp_path, {"a": "up", "b": "up", "c": "up"}, security="none")
    try:
        shelf.start()
        with Fleet.load(str(shelf.path)) as fleet:
            assert right(fleet.infer(model, picture(), options=Options(check=True)))
            shelf.signal("b", signal.SIGKILL)
            shelf.processes["b"].wait(PATIENCE_S)
            assert right(fleet.infer(model, picture(), options=Options(check=True)))
            restart(shelf, "b", repository)
            reports: list[InferenceReport] = []

            def takes_part() -> bool:
                reports.append(fleet.infer(model, picture(), options=Options(check=True)))
                (row,) = [agent for agent in reports[-1].agents if agent.id == "b"]
                return row.state == "up" and row.used > 0

            until(takes_part, "the return of b")
            assert all(right(report) for report in reports)
    finally:
        shelf.close()


def restart(shelf: Shelf, name: str, repository: Path) -> None:
    """Start an agent anew where it listened before."""
    for pipe in (shelf.processes[name].stdin, shelf.processes[name].stdout):
        pipe.close()
    command = ["-m", "cocoi_agent", "--embedded", "--id", name, "--security", "none", "--port", str(shelf.ports[name])]
    shelf.processes[name] = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(repository / "agent")},
    )
    assert shelf.processes[name].stdout.readline()
