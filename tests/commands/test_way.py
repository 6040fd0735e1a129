"""By a plan that is named, by the planner, or by a scheme: what `cocoi infer` goes by, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cocoi_cli.commands import modelled, way
from cocoi_cli.commands.infer import Request
from cocoi_cli.commands.modelled import Modelled, NoProfileError, OtherFleetProfileError
from cocoi_cli.commands.request import Source
from cocoi_cli.commands.way import choose_way
from cocoi_cli.console import Console
from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet.agents import Agents
from cocoi_cli.fleet.records import Inventory
from cocoi_cli.model.inputs import UnreadableFileError
from cocoi_cli.model.layers import find_layers
from cocoi_cli.planning.plan import AUTO
from cocoi_cli.planning.plan_errors import MalformedPlanError, OtherFleetPlanError, OtherModelError, StalePlanError
from cocoi_cli.planning.plan_file import PlanDocument, to_json, to_toml
from cocoi_cli.planning.profile_file import BadProfileError
from cocoi_cli.runtime.addresses import AgentAddress
from tests.runtime.small_planned import planned_network, rich_plan
from tests.runtime.test_deciding import SLOW_HOST

NAMES = ("pi-1", "pi-2", "pi-3")


@pytest.fixture
def model(tmp_path):
    return planned_network(tmp_path, "vgg")


@pytest.fixture
def measured(monkeypatch) -> list[str | None]:
    """The fleet has figures; which fleet file was looked at."""
    asked: list[str | None] = []

    def known(source: modelled.Source) -> Modelled:
        asked.append(source.fleet)
        return Modelled(SLOW_HOST, "f1", "2026-11-20", "six devices", ("`pi-9` was not measured",))

    monkeypatch.setattr(way.modelled, "modelled", known)
    return asked


def unfit(monkeypatch, error: CocoiError) -> None:
    def known(source):
        raise error

    monkeypatch.setattr(way.modelled, "modelled", known)


def devices(tmp_path, *names: str) -> Source:
    inventory = Inventory(tmp_path / "fleet.toml", "f1", "none", ())
    return Source(0, inventory, Agents(tuple(AgentAddress(name, "127.0.0.1", 1, None) for name in names), None))


def choose(source: Source, model, **request):
    return choose_way(Request(inputs=("x.npy",), **request), source, model, Console(json=False, quiet=False))


# --- no plan ------------------------------------------------------------------------------------


def test_a_fleet_that_was_measured_is_planned_for(measured, model, tmp_path, capsys) -> None:
    for request in ({}, {"scheme": AUTO}, {"fleet": "other.toml"}):
        found = choose(devices(tmp_path, *NAMES), model, **request)
        assert (found.scheme, found.model, found.plan) == (AUTO, SLOW_HOST, None)
    assert measured == [None, None, "other.toml"]
    assert "`pi-9` was not measured" in capsys.readouterr().err


@pytest.mark.parametrize("request_", [{"n": 3}, {"k": 2}, {"n": 3, "k": 2}, {"scheme": "coded"}, {"scheme": "lt"}])
def test_whoever_says_how_is_obeyed_without_looking_at_any_figures(measured, model, tmp_path, request_, capsys) -> None:
    found = choose(devices(tmp_path, *NAMES), model, **request_)
    assert (found.scheme, found.model) == (request_.get("scheme", "coded"), None)
    assert measured == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("scheme", [None, "local", "uncoded"])
def test_embedded_agents_are_never_planned_for(measured, model, scheme) -> None:
    assert choose(Source(embedded=4), model, scheme=scheme).scheme == (scheme or "coded")
    assert measured == []


def test_a_fleet_without_figures_is_coded_and_the_way_to_better_is_told(monkeypatch, model, tmp_path, capsys) -> None:
    unfit(monkeypatch, NoProfileError("p.json"))
    assert choose(devices(tmp_path, *NAMES), model).scheme == "coded"
    assert "after `cocoi profile --agents` the planner decides" in capsys.readouterr().err
    with pytest.raises(NoProfileError):
        choose(devices(tmp_path, *NAMES), model, scheme=AUTO)


@pytest.mark.parametrize(
    "error",
    [OtherFleetProfileError("p.json", profile="f2", fleet="f1"), BadProfileError("p.json", "", "it is no text")],
)
def test_unfit_figures_stop_only_who_asks_for_the_planner(monkeypatch, model, tmp_path, capsys, error) -> None:
    unfit(monkeypatch, error)
    assert choose(devices(tmp_path, *NAMES), model).scheme == "coded"
    assert error.message in capsys.readouterr().err
    with pytest.raises(type(error)):
        choose(devices(tmp_path, *NAMES), model, scheme=AUTO)


# --- a plan -------------------------------------------------------------------------------------


def written(tmp_path, model, *, fleet: str = "f1", agents=NAMES, sha256: str = "", form=to_toml) -> str:
    plan = replace(rich_plan(find_layers(model, {"image": (1, 3, 32, 32)}), "vgg", n=4), agents=tuple(agents))
    document = PlanDocument(
        plan=plan,
        model="vgg",
        sha256=sha256 or model.sha256,
        inputs={"image": (1, 3, 32, 32)},
        fleet=fleet,
        profile="",
        made="2026-11-21T10:00:00+00:00",
        cocoi="0.1.0",
    )
    path = tmp_path / "plan.toml"
    path.write_text(form(document))
    return str(path)


@pytest.mark.parametrize("form", [to_toml, to_json])
def test_a_plan_that_is_named_is_followed(measured, model, tmp_path, form) -> None:
    found = choose(devices(tmp_path, *NAMES), model, plan=written(tmp_path, model, form=form))
    assert found.scheme == AUTO
    assert found.model is None
    assert found.plan.agents == NAMES
    assert len(found.plan.segments) == 1
    assert measured == []


def test_embedded_agents_follow_any_fleets_plan(model, tmp_path) -> None:
    assert choose(Source(embedded=3), model, plan=written(tmp_path, model)).plan is not None


def test_a_plan_for_assumed_devices_suits_any_fleet(model, tmp_path) -> None:
    path = written(tmp_path, model, fleet="", agents=("device-1", "device-2"))
    assert choose(devices(tmp_path, *NAMES), model, plan=path).plan is not None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"fleet": "f2"}, OtherFleetPlanError),
        ({"agents": (*NAMES, "pi-4")}, StalePlanError),
        ({"sha256": "b" * 64}, OtherModelError),
    ],
)
def test_a_plan_that_was_made_for_something_else_is_refused(model, tmp_path, change, error) -> None:
    with pytest.raises(error) as raised:
        choose(devices(tmp_path, *NAMES), model, plan=written(tmp_path, model, **change))
    assert "plan.toml" in raised.value.message


def test_what_is_no_plan_is_refused_with_its_name(model, tmp_path) -> None:
    source = devices(tmp_path, *NAMES)
    with pytest.raises(UnreadableFileError, match="absent"):
        choose(source, model, plan=str(tmp_path / "absent.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableFileError, match="it is no text"):
        choose(source, model, plan=str(tmp_path / "binary.toml"))
    with pytest.raises(UnreadableFileError):
        choose(source, model, plan=str(tmp_path))
    (tmp_path / "broken.toml").write_text("[layers")
    with pytest.raises(MalformedPlanError, match=r"broken\.toml"):
        choose(source, model, plan=str(tmp_path / "broken.toml"))
