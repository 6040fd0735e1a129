"""`cocoi plan`, from the options to the table, the file and the refusals."""
# ruff: noqa: E501  (each case of a table stands on one line)

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from cocoi_cli.codes.errors import UnknownSchemeError
from cocoi_cli.commands.modelled import NoProfileError, NothingMeasuredError, OtherFleetProfileError, Source
from cocoi_cli.commands.plan_work import Wish, run
from cocoi_cli.commands.reading import open_model
from cocoi_cli.commands.simulate_fleet import PASS_BYTES_PER_S
from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet.inventory import NoFleetError
from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.segments import find_segments
from cocoi_cli.model.shapes import InputShapeError
from cocoi_cli.planning.plan_check import check, check_plan
from cocoi_cli.planning.plan_errors import OtherFleetPlanError
from cocoi_cli.planning.plan_reading import read
from cocoi_cli.planning.profile import Compute, Convolution, DeviceProfile, Link, Profile, Round, Samples
from cocoi_cli.planning.profile_file import BadProfileError, to_json
from cocoi_cli.planning.request import BadObjectiveError
from cocoi_cli.runtime.options import BadOptionError
from tests.model.graphs import make, node, save, weights

ASSUMED = Source(devices=6, gflops=2, host_gflops=2)
FLEET = 'id = "f1"\n' + "".join(
    f'[devices.pi-{number}]\nssh = "pi@10.0.0.{number}"\naddress = "10.0.0.{number}"\n' for number in (1, 2, 3)
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("COCOI_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COCOI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COCOI_FLEET", str(tmp_path / "fleet.toml"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wish(**values) -> Wish:
    return Wish(**({"model": "roadsigns"} | values))


def device(seconds: float = 0.01) -> DeviceProfile:
    """Conv slices of a tenth of a second per GFLOP, and a link of 50 MB/s."""
    samples = Samples(2 * 28 * 224 * 64 * 64 * 9, (seconds,) * 12)
    ways = Samples(5_000_000, (0.1,) * 8)
    return DeviceProfile(
        made="2026-11-20T10:00:00+00:00",
        machine_id=None,
        facts={"memory_bytes": 2 << 30},
        conditions=(),
        clock_offset_s=None,
        clock_uncertainty_s=None,
        link=Link("direct", (Round((0.0004,) * 8, ways, ways),)),
        compute=Compute("1.31.1", (Convolution(3, 64, 64, 224, 28, samples),), 0, {}, {}),
    )


def write_fleet(home: Path, devices: dict[str, DeviceProfile], fleet: str = "f1") -> None:
    (home / "fleet.toml").write_text(FLEET)
    folder = home / "data" / "f1"
    folder.mkdir(parents=True)
    (folder / "profile.json").write_text(to_json(Profile(fleet, "2026-11-20T10:00:00+00:00", "0.1.0", devices)))


def test_shows_a_table_that_fits_and_ends_with_the_baselines(capsys) -> None:
    assert run(ASSUMED, wish()) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["layer", "where", "cut", "wire", "ms", "moved", "why"]
    assert max(map(len, lines)) <= 80
    assert lines[-3].startswith("predicted ")
    assert lines[-1].startswith("alone: this machine ")
    assert "; whole pictures in turn: " in lines[-1]
    assert err.startswith("roadsigns on 6 assumed devices of 2 GFLOP/s, links of 940 Mbit/s;\n")


def test_no_reason_is_cut_off(capsys) -> None:
    """At 80 columns: on a slow link some stages stay here, and the reason is long."""
    source = Source(devices=3, mbit=40)
    run(source, wish(json=True))
    layers = json.loads(capsys.readouterr().out)["layers"]
    run(source, wish())
    table, _, _ = capsys.readouterr().out.partition("\n\n")
    assert max(map(len, table.splitlines())) <= 80
    said = [layer["reason"] for layer in layers if layer["scheme"] == "local"]
    assert said
    words = table.split()
    for reason in said:
        shown = reason.replace("agents would take", "agents:").replace(" decides", "")
        assert [word for word in shown.split() if word not in words] == []


def test_dense_layers_are_counted_and_told(home: Path, capsys) -> None:
    """A convolution worth distributing, and 20 MB of dense weights behind it."""
    nodes = [
        node("Conv", ["x", "kernels"], ["a"], pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["a"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Gemm", ["flat", "dense"], ["y"]),
    ]
    constants = {"kernels": weights(256, 64, 3, 3), "dense": weights(256, 20_000)}
    save(home, make(nodes, {"x": (1, 64, 64, 64)}, ["y"], constants))
    dense_ms = 4 * 256 * 20_000 / PASS_BYTES_PER_S * 1000
    assert run(ASSUMED, wish(model="model.onnx")) == 0
    assert f"dense layers stay here and take {dense_ms:.2f} ms of it" in capsys.readouterr().out
    assert run(ASSUMED, wish()) == 0
    assert "dense" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["plan.toml", "plan.json"])
def test_writes_a_plan_that_can_be_obeyed(name: str, home: Path, capsys) -> None:
    assert run(ASSUMED, wish(output=name)) == 0
    assert f"written: {name}" in capsys.readouterr().err
    text = (home / name).read_text()
    document = read(text, name)
    model = open_model("roadsigns")
    prepared = find_layers(model, dict(document.inputs))
    check(document, name, model=model.name, sha256=model.sha256, inputs=None, fleet=None, devices=[])
    check_plan(document.plan, prepared.layers, find_segments(prepared), 6, source=name, text=text)
    assert not document.plan.is_local
    assert (name.endswith("json") and json.loads(text)) or tomllib.loads(text)


def test_says_why(capsys) -> None:
    run(ASSUMED, wish(why=True))
    out = capsys.readouterr().out
    assert "  else " in out
    assert "k* = " in out
    assert "k° = " in out
    assert "decides; never below" in out


def test_one_document(capsys, home: Path) -> None:
    run(ASSUMED, wish(json=True, output="p.toml"))
    out, _ = capsys.readouterr()
    document = json.loads(out)
    assert document["kind"] == "cocoi-plan"
    assert document["written"] == "p.toml"
    assert {"objective", "latency_s", "local_s"} <= set(document["prediction"])
    stages = document["stages"]
    assert all(stage["alternatives"] or stage["option"]["scheme"] == "local" for stage in stages)
    assert any(stage["k"] for stage in stages)


@pytest.mark.parametrize("scheme", ["coded", "uncoded", "hedged", "fused", "local"])
def test_one_scheme_only(scheme: str, capsys) -> None:
    run(ASSUMED, wish(scheme=scheme, json=True))
    document = json.loads(capsys.readouterr().out)
    found = {layer["scheme"] for layer in document["layers"]}
    assert found <= {"local", scheme}
    assert scheme in found


def test_without_the_host(capsys) -> None:
    run(ASSUMED, wish(host=False, json=True))
    document = json.loads(capsys.readouterr().out)
    assert not any(each.get("host") for each in [*document["layers"], *document["segments"]])


def test_plans_for_the_measured_fleet(home: Path, capsys) -> None:
    write_fleet(home, {"pi-1": device(), "pi-2": device(0.02)})
    run(Source(host_gflops=3), wish(output="p.toml"))
    out, err = capsys.readouterr()
    assert "warning: `pi-3` was not measured; it is left out of the plan" in err
    assert f"roadsigns on 2 devices of `{home / 'fleet.toml'}`, measured 2026-11-20" in err
    assert ", pi-1 " in out.splitlines()[-1]
    document = read((home / "p.toml").read_text(), "p.toml")
    assert (document.fleet, document.profile) == ("f1", "2026-11-20T10:00:00+00:00")
    with pytest.raises(OtherFleetPlanError):
        check(document, "p", model="", sha256=document.sha256, inputs=None, fleet="f2", devices=[])


def test_measures_this_machine_once(home: Path, capsys) -> None:
    write_fleet(home, {"pi-1": device()})
    run(Source(), wish())
    kept = home / "cache" / "host-speed.json"
    before = kept.read_bytes()
    run(Source(), wish())
    assert kept.read_bytes() == before
    capsys.readouterr()


@pytest.mark.parametrize(
    ("source", "values", "error", "words"),
    [
        (Source(), {}, NoFleetError, "there is no fleet file"),
        (Source(devices=0), {}, BadOptionError, "`--devices 0`: from 1 to 1000"),
        (Source(devices=2, fleet="f.toml"), {}, BadOptionError, "names devices that are there"),
        (Source(gflops=3), {}, BadOptionError, "`--gflops 3`: it describes assumed devices"),
        (Source(devices=2, mbit=-1), {}, BadOptionError, "`--mbit -1`: it must be above 0"),
        (Source(devices=2, gflops=float("nan")), {}, BadOptionError, "`--gflops nan`"),
        (ASSUMED, {"scheme": "magic"}, UnknownSchemeError, "unknown scheme `magic`; known are `auto`, `local`, `fused`"),
        (ASSUMED, {"objective": "best"}, BadObjectiveError, "`best` is no objective"),
        (ASSUMED, {"size": "big"}, BadOptionError, "rows and columns are written `224x224`"),
        (ASSUMED, {"size": "0x5"}, BadOptionError, "rows and columns are written `224x224`"),
    ],
    ids=str,
)  # fmt: skip
def test_refuses_what_cannot_be(source: Source, values, error: type[CocoiError], words: str) -> None:
    with pytest.raises(error) as caught:
        run(source, wish(**values))
    assert words in caught.value.message


def test_a_size_other_than_the_files_own_is_refused() -> None:
    with pytest.raises(InputShapeError):
        run(ASSUMED, wish(size="31x33"))


def test_tells_what_is_wrong_with_the_profile(home: Path) -> None:
    (home / "fleet.toml").write_text(FLEET)
    with pytest.raises(NoProfileError, match="the fleet has not been measured"):
        run(Source(), wish())
    (home / "data" / "f1" / "profile.json").write_text("{")
    with pytest.raises(BadProfileError):
        run(Source(), wish())
    (home / "data" / "f1" / "profile.json").write_bytes(b"\xff")
    with pytest.raises(BadProfileError, match="no text"):
        run(Source(), wish())


def test_a_profile_of_another_fleet_is_refused(home: Path) -> None:
    write_fleet(home, {"pi-1": device()}, fleet="f2")
    with pytest.raises(OtherFleetProfileError, match="is of fleet `f2`, not of `f1`"):
        run(Source(), wish())


def test_a_profile_without_a_device_to_plan_with_is_refused(home: Path) -> None:
    write_fleet(home, {"elsewhere": device()})
    with pytest.raises(NothingMeasuredError, match="`pi-1` was not measured; `pi-2` was not measured"):
        run(Source(), wish())
