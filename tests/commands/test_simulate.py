"""`cocoi simulate`: what it shows, writes and refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main

from cocoi_cli.app import app
from cocoi_cli.benchmark.statistics import FEWEST_FOR_P99
from cocoi_cli.commands.simulate import SimulateRequest
from cocoi_cli.commands.simulate_work import run
from cocoi_cli.errors import CocoiError
from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.planning.plan_file import PlanDocument, to_toml
from cocoi_cli.planning.profile import Compute, Convolution, DeviceProfile, Link, Profile, Round, Samples
from cocoi_cli.planning.profile_file import to_json
from tests.runtime.small_network import small_network

MADE = "2026-11-20T10:00:00+00:00"
USUAL = SimulateRequest(
    model="", fleet=None, devices=4, gflops=1.0, mbit=None, rtt=None, host_gflops=None, plan=None,
    schemes=("uncoded", "coded"), k=(), straggling="none", latency="shift-exponential", inferences=5, seed=1,
    transport="f16", strips=None, plot=None, output=None, quiet=False, json=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_network(tmp_path_factory.mktemp("model"), size=64, channels=32)


@pytest.fixture
def ask(model, capsys):
    def asked(**options):
        request = replace(USUAL, **{"model": str(model.path), **options})
        assert run(request) == 0
        captured = capsys.readouterr()
        return captured.out, captured.err

    return asked


def test_the_table_has_a_row_per_scheme_and_the_lines_to_compare_with(ask):
    out, err = ask(straggling="exp:0.5")
    lines = out.splitlines()
    assert lines[0].split() == ["scheme", "k", "p50", "ms", "p95", "ms", "p99", "ms", "moved", "wasted", "host", "ms"]
    assert [line.split()[0] for line in lines[1:3]] == ["uncoded", "coded"]
    assert lines[3].split()[1] == "alone"
    assert lines[4].startswith("this machine alone")
    assert all(len(line) <= 80 for line in lines)
    assert "4 assumed devices of 1 GFLOP/s" in err
    assert "5 inferences, straggling exp:0.5, seed 1" in err


def measured_fleet(folder: Path) -> str:
    """Four devices that compute at one of two speeds, and take a tenth of a second for five megabytes."""
    ways = Samples(5_000_000, (0.1,) * 8)
    slices = Convolution(3, 32, 32, 64, 8, Samples(2 * 8 * 64 * 32 * 32 * 9, (0.03, 0.09) * 12))
    link, compute = Link("direct", (Round((0.0004,) * 8, ways, ways),)), Compute("1.31.1", (slices,), 0, {}, {})
    names = [f"pi-{number}" for number in range(4)]
    devices = {name: DeviceProfile(MADE, None, {}, (), None, None, link, compute) for name in names}
    lines = [f'[devices.{name}]\nssh = "pi@10.0.0.{name[-1]}"\naddress = "10.0.0.{name[-1]}"\n' for name in names]
    (folder / "fleet.toml").write_text('id = "f1"\n' + "".join(lines))
    (folder / "f1").mkdir()
    (folder / "f1" / "profile.json").write_text(to_json(Profile("f1", MADE, "0.1.0", devices)))
    return str(folder / "fleet.toml")


def test_times_are_drawn_from_the_samples_where_that_is_asked_for(ask, tmp_path, monkeypatch):
    monkeypatch.setenv("COCOI_DATA", str(tmp_path))
    monkeypatch.setenv("COCOI_CACHE", str(tmp_path / "cache"))
    usual = {"fleet": measured_fleet(tmp_path), "devices": None, "gflops": None, "host_gflops": 10.0}
    usual |= {"schemes": ("uncoded",), "json": True, "inferences": 200}
    fitted = json.loads(ask(**usual)[0])
    drawn = json.loads(ask(latency="empirical", **usual)[0])
    assert (fitted["latency"], drawn["latency"]) == ("shift-exponential", "empirical")
    slowest = [max(each["rows"][0]["latencies_s"]) for each in (fitted, drawn)]
    assert slowest[1] < slowest[0]  # two speeds have no tail
    assert "as they were measured" in ask(latency="empirical", **usual | {"json": False})[1]


def test_times_of_assumed_devices_cannot_be_drawn_from_samples(ask):
    with pytest.raises(CocoiError, match="nothing was measured of devices that are assumed"):
        ask(latency="empirical")
    with pytest.raises(CocoiError, match="it is `shift-exponential` or `empirical`"):
        ask(latency="normal")


def test_the_planner_and_the_local_plan_are_rows_too(ask):
    out, _ = ask(schemes=("auto", "local"))
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["auto", "local"]


def test_a_sweep_over_k_meets_the_same_luck(ask):
    def latencies(**options):
        rows = json.loads(ask(json=True, straggling="exp:0.5", **options)[0])["rows"]
        return {(row["name"], row["k"]): row["latencies_s"] for row in rows if "k" in row}

    together = latencies(schemes=("coded",), k=("2-4",))
    assert list(together) == [("coded", 2), ("coded", 3), ("coded", 4)]
    assert latencies(schemes=("coded",), k=("3",)) == {("coded", 3): together["coded", 3]}
    assert latencies(schemes=("uncoded", "coded"), k=("3",))["coded", 3] == together["coded", 3]


def test_a_k_that_a_family_refuses_is_left_out_of_a_sweep_and_said(ask):
    out, err = ask(schemes=("hedged",), k=("1", "2"))
    assert [line.split()[:2] for line in out.splitlines()[1:2]] == [["hedged", "1"]]
    assert "`hedged` with k = 2 is left out" in err
    with pytest.raises(CocoiError):
        ask(schemes=("hedged",), k=("2",))
    out, err = ask(schemes=("coded",), k=("3-6",))
    assert [line.split()[:2] for line in out.splitlines()[1:3]] == [["coded", "3"], ["coded", "4"]]
    assert "warning: `coded` with k = 5 is left out: `--k 5`: there are 4 devices\n" in err


def test_a_scheme_that_has_no_such_k_stands_beside_the_others_with_its_own(ask):
    out, err = ask(schemes=("uncoded", "coded"), k=("2-3",))
    assert [line.split()[:2] for line in out.splitlines()[1:4]] == [["uncoded", "4"], ["coded", "2"], ["coded", "3"]]
    assert err.count("uncoded") == 2
    assert "warning: `uncoded` is simulated with its own k = 4: no `uncoded` code has n = 4 and k = 2: k is n\n" in err


@pytest.mark.parametrize(
    ("inferences", "shown", "said"),
    [(19, 1, "p95 needs 20 inferences, p99 500"), (20, 2, "p99 needs 500 inferences"), (500, 3, "")],
)
def test_a_tail_needs_inferences(ask, inferences, shown, said):
    out, err = ask(inferences=inferences, schemes=("coded",))
    assert [cell != "-" for cell in out.splitlines()[1].split()[2:5]] == [place < shown for place in range(3)]
    assert ("needs" in err, said in err) == (bool(said), True)
    found = json.loads(ask(inferences=inferences, schemes=("coded",), json=True)[0])["rows"][0]["latency_s"]
    assert [found[name] is not None for name in ("p50", "p95", "p99")] == [place < shown for place in range(3)]


def test_the_usual_number_of_inferences_has_all_tails():
    usual = next(each for each in typer.main.get_command(app).commands["simulate"].params if each.name == "inferences")
    assert usual.default >= FEWEST_FOR_P99


def test_the_document_holds_everything_and_is_written(ask, tmp_path):
    path = tmp_path / "out.json"
    out, _ = ask(json=True, output=str(path), straggling="slow:1x3")
    document = json.loads(out)
    assert json.loads(path.read_text()) == document
    assert {key: document[key] for key in ("straggling", "inferences", "seed", "transport")} == {
        "straggling": "slow:1x3", "inferences": 5, "seed": 1, "transport": "f16",
    }  # fmt: skip
    coded = document["rows"][1]
    assert (coded["name"], coded["n"], coded["k"], len(coded["latencies_s"])) == ("coded", 4, 3, 5)
    assert {stage["kind"] for stage in coded["stages"]} == {"local", "conv"}
    assert len(coded["agents"]) == 4
    assert coded["latency_s"]["p50"] > 0


def test_a_figure_is_drawn(ask, tmp_path):
    for name in ("f.png", "f.svg"):
        _, err = ask(plot=str(tmp_path / name))
        assert f"written: {tmp_path / name}" in err
        assert (tmp_path / name).stat().st_size > 1000


def test_known_dead_devices_are_not_planned_for(ask):
    rows = json.loads(ask(json=True, straggling="dead:1")[0])["rows"]
    assert [row.get("n") for row in rows[:2]] == [3, 3]


def test_a_trace_makes_the_tail(ask, tmp_path):
    (tmp_path / "trace.csv").write_text("factors\n" + "1\n" * 9 + "30\n")
    quiet, late = (
        json.loads(ask(json=True, inferences=30, straggling=straggling)[0])["rows"][0]["latency_s"]
        for straggling in ("none", f"trace:{tmp_path / 'trace.csv'}")
    )
    assert late["p95"] > 1.5 * quiet["p95"]


def test_devices_are_assumed_where_there_is_no_fleet_or_they_are_described(ask, monkeypatch, tmp_path):
    monkeypatch.setenv("COCOI_FLEET", str(tmp_path / "fleet.toml"))
    monkeypatch.setenv("COCOI_DATA", str(tmp_path / "data"))
    _, err = ask(devices=None, gflops=None, schemes=("local",))
    assert "10 assumed devices of 10 GFLOP/s" in err
    (tmp_path / "fleet.toml").write_text(
        'id = "f1"\n[devices.pi1]\nssh = "pi@127.0.0.1"\naddress = "127.0.0.1"\nport = 1\n'
    )
    _, err = ask(devices=None, gflops=None, rtt=2.0, schemes=("local",))
    assert "round trip 2 ms" in err
    with pytest.raises(CocoiError) as raised:
        ask(devices=None, gflops=None)
    assert raised.value.code == "no-profile"


def planned(model, **changes) -> PlanDocument:
    shapes = resolve_input_shapes(model, {"image": (1, 3, 64, 64)})
    layers = find_layers(model, shapes).layers
    plan = default_plan(layers, agents=4, scheme="coded", n=None, k=3, transport="f16")
    return replace(PlanDocument(plan, model.name, model.sha256, shapes, "", "", "2026-01-01", "1"), **changes)


def test_a_plan_file_is_obeyed(ask, model, tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(to_toml(planned(model)))
    rows = json.loads(ask(json=True, plan=str(path), schemes=())[0])["rows"]
    assert rows[0]["name"] == "plan.toml"
    assert len(rows) == 3
    same = json.loads(ask(json=True, schemes=("coded",), k=("3",))[0])["rows"][0]
    assert rows[0]["latencies_s"] == same["latencies_s"]


@pytest.mark.parametrize(
    ("options", "code", "status"),
    [
        ({"straggling": "exp"}, "bad-straggling", 2),
        ({"straggling": "trace:/nothing/here.csv"}, "bad-trace", 2),
        ({"k": ("x",)}, "bad-option", 2),
        ({"k": ("4-2",)}, "bad-option", 2),
        ({"k": ("9",)}, "bad-option", 2),
        ({"k": ("4",), "straggling": "dead:1"}, "bad-option", 2),
        ({"k": ("5-7",), "schemes": ("uncoded", "coded", "auto")}, "bad-option", 2),
        ({"plot": "figure.pdf"}, "plot-format", 2),
        ({"plot": "/nothing/here/a.png"}, "output-not-writable", 1),
        ({"output": "/nothing/here/a.json"}, "output-not-writable", 1),
        ({"devices": 0}, "bad-option", 2),
        ({"devices": 1001}, "bad-option", 2),
        ({"gflops": -1.0}, "bad-option", 2),
        ({"gflops": float("nan")}, "bad-option", 2),
        ({"gflops": float("inf")}, "bad-option", 2),
        ({"rtt": -0.1}, "bad-option", 2),
        ({"fleet": "fleet.toml"}, "bad-option", 2),
        ({"fleet": "/nothing/here.toml", "devices": None, "gflops": None}, "no-fleet", 3),
        ({"schemes": ("nothing",)}, "unknown-scheme", 2),
        ({"transport": "f8"}, "unknown-transport", 2),
        ({"plan": "/nothing/here.toml"}, "no-such-file", 2),
    ],
)  # fmt: skip
def test_bad_requests_are_refused(ask, options, code, status):
    with pytest.raises(CocoiError) as raised:
        ask(**options)
    assert (raised.value.code, raised.value.exit_status) == (code, status)


def test_a_plan_for_another_model_is_refused(ask, model, tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(to_toml(planned(model, sha256="0" * 64)))
    with pytest.raises(CocoiError) as raised:
        ask(plan=str(path))
    assert raised.value.exit_status == 3
