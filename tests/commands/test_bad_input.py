"""Every bad input gives `error:`, `hint:` and the documented exit status, and starts no agents."""

# ruff: noqa: E501  (each case of the table stands on one line)

from __future__ import annotations

import json
import os
import re
import shutil

import numpy as np
import onnx
import pytest
from onnx import helper

from cocoi_cli.errors import ConfigurationError, DecodeError, FailedError, FleetError
from cocoi_cli.runtime.link_errors import AgentFaultError, VersionError


def prepare_files(folder, picture, make):
    make("classifier", "signs.onnx")
    make("adder", "add.onnx")
    make("classifier", "unlabelled.onnx", labels=())
    picture("red.png")
    picture("photo.jpg", size=(64, 64))
    data = (folder / "photo.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "noise.png").write_bytes(b"certainly not a picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "nothing").mkdir()
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("a")
    (folder / "noise.onnx").write_bytes(b"\xff\x01 no protocol buffer")
    whole = (folder / "signs.onnx").read_bytes()
    (folder / "cut.onnx").write_bytes(whole[: len(whole) // 3])
    odd = onnx.load(folder / "signs.onnx")
    odd.graph.node.append(helper.make_node("Frobnicate", ["mixed"], ["unused"], name="odd", domain="acme"))
    odd.opset_import.append(helper.make_opsetid("acme", 1))
    onnx.save(odd, folder / "odd.onnx")
    opened = onnx.load(folder / "unlabelled.onnx")
    for axis in opened.graph.input[0].type.tensor_type.shape.dim:
        axis.Clear()
        axis.dim_param = "any"
    del opened.metadata_props[:]
    onnx.save(opened, folder / "open.onnx")
    np.save(folder / "rank.npy", np.zeros((3, 8, 8), np.float32))
    np.save(folder / "size.npy", np.zeros((1, 3, 9, 8), np.float32))
    np.save(folder / "dtype.npy", np.zeros((1, 3, 8, 8), np.int32))
    np.save(folder / "two.npy", np.zeros((1, 2), np.float32))
    np.savez(folder / "names.npz", a=np.zeros((1, 2), np.float32), c=np.zeros((1, 2), np.float32))
    (folder / "bad.npy").write_bytes(b"\x93NUMPY but not really")
    (folder / "three.txt").write_text("one\ntwo\nthree\n")
    (folder / "bad.json").write_text('{"color": "RGB",\n "scale": }')
    (folder / "purple.json").write_text('{"color": "purple"}')
    (folder / "grey.json").write_text('{"color": "grey"}')
    (folder / "locked").mkdir()


CASES = [
    ("red.png missing.png", 2, "no-such-file", "no such file: `missing.png`"),
    ("red.png -m missing.onnx", 2, "no-such-file", "no such file: `missing.onnx`"),
    ("noise.png", 2, "not-an-image", "`noise.png` is not a picture: 23 bytes of an unknown format"),
    ("empty.png", 2, "not-an-image", "`empty.png` is not a picture: the file is empty"),
    ("cut.jpg", 2, "truncated-image", r"picture `cut.jpg` is truncated or damaged: .*truncated.*"),
    ("nothing", 2, "empty-directory", "no picture in directory `nothing`: it is empty"),
    ("texts", 2, "empty-directory", "no picture in directory `texts`: none of its 1 files is one"),
    ("red.png -m nothing", 2, "unreadable-file", "cannot read `nothing`: is a directory"),
    ("red.png -m noise.onnx", 3, "not-onnx", "`noise.onnx` is not an ONNX model: .*"),
    ("red.png -m cut.onnx", 3, "not-onnx", "`cut.onnx` is not an ONNX model: .*"),
    ("red.png -m odd.onnx", 3, "unknown-operator", "ONNX Runtime has no operator `Frobnicate` of domain `acme`.*`odd`.*"),
    ("red.png -m open.onnx", 2, "dynamic-size", r"model `open` leaves the size of input `image` open \(anyxanyxanyxany float32\).*"),
    ("rank.npy", 2, "wrong-rank", "`rank.npy`: array for input `image` is 3x8x8, expected Nx3x8x8 float32: 3 axes instead of 4"),
    ("size.npy", 2, "wrong-rank", "`size.npy`: .* is 1x3x9x8, expected Nx3x8x8 float32: axis 2 is 9 instead of 8"),
    ("dtype.npy", 2, "wrong-dtype", "`dtype.npy`: array for input `image` is int32, expected float32"),
    ("bad.npy", 2, "bad-array-file", "cannot read arrays from `bad.npy`: .*"),
    ("two.npy -m add.onnx", 2, "wrong-inputs", r"`two.npy`: one array, and model `add` has 2 inputs \(`a`, `b`\)"),
    ("names.npz -m add.onnx", 2, "wrong-inputs", "`names.npz`: no array named `b`; model `add` takes `a`, `b`"),
    ("red.png -m add.onnx", 2, "no-image-input", r"model `add` cannot take a picture: it has 2 inputs \(`a`, `b`\)"),
    ("red.png --n 2 --k 3", 2, "bad-size", "`k` must not be above `n`; n = 2 and k = 3 were asked for"),
    ("red.png --k 0", 2, "bad-size", "`k` must be at least 1; n = none and k = 0 were asked for"),
    ("red.png --n 0", 2, "bad-size", "`n` must be at least 1; n = 0 and k = none were asked for"),
    ("red.png --top 0", 2, "bad-option", "`--top 0`: at least 1 class is shown"),
    ("red.png --embedded 0", 2, "bad-option", "`--embedded 0`: a fleet has at least 1 agent"),
    ("red.png --deadline 0", 2, "bad-option", "`--deadline 0`: seconds must be above 0"),
    ("red.png --tolerance 0", 2, "bad-option", "`--tolerance 0`: a tolerance is above 0, and 0.1 at most"),
    ("red.png --tolerance nan", 2, "bad-option", "`--tolerance nan`: a tolerance is above 0, and 0.1 at most"),
    ("red.png --tolerance 0.2", 2, "bad-option", "`--tolerance 0.2`: a tolerance is above 0, and 0.1 at most"),
    ("red.png --deadline nan", 2, "bad-option", "`--deadline nan`: seconds must be above 0"),
    ("red.png --kill 7", 2, "bad-option", "`--kill 7`: the fleet has 6 agents"),
    ("red.png --kill 1 --scheme local", 2, "bad-option", "`--kill 1`: the scheme `local` has no agents"),
    ("red.png --scheme fast", 2, "unknown-scheme", "unknown scheme `fast`; known are `auto`, `local`, `cocoi`, .*"),
    ("red.png --plan p.toml", 2, "unreadable-file", "cannot read `p.toml`: .*"),
    ("red.png --plan red.png", 2, "unreadable-file", "cannot read `.*red.png`: it is no text"),
    ("red.png --plan p.toml --k 3", 2, "bad-option", "`--k 3`: `--plan p.toml` decides that"),
    ("red.png --scheme auto --embedded 3", 2, "bad-option", "`--scheme auto`: the planner needs .*"),
    ("", 2, "usage", "missing argument `INPUT`"),
    ("red.png --fleet f.toml", 3, "no-fleet", "there is no fleet file `f.toml`"),
    ("red.png --fleet f.toml --embedded 2", 2, "bad-option", "`--embedded 2`: `--fleet f.toml` names other agents"),
    ("red.png --labels three.txt", 3, "bad-labels", "labels of `three.txt`: there are 3, and model `signs` has 4 classes"),
    ("red.png --labels none.txt", 2, "no-such-file", "no such file: `none.txt`"),
    ("red.png --preprocess bad.json", 3, "bad-preprocess", "preprocessing of `bad.json`: line 2 is not JSON: .*"),
    ("red.png --preprocess purple.json", 3, "bad-preprocess", 'preprocessing of `purple.json`: `color` is "purple"; it may be `RGB`, .*'),
    ("red.png --preprocess grey.json", 3, "bad-preprocess", "preprocessing of `grey.json`: `GREY` makes 1 channels; input `image` takes 3"),
    ("red.png -o out.gif", 2, "bad-output-name", "`-o out.gif`: `.gif` is no format; known are `.npz`, `.png`, `.json`"),
    ("red.png photo.jpg -o out.npz", 2, "bad-output-name", "`-o out.npz`: one file for 2 inputs; several results go into a folder"),
    ("red.png -o out.png", 2, "no-picture-output", "model `signs` makes no picture; its outputs are `logits` Nx4 float32"),
    ("red.png -o no/where/out.npz", 1, "output-not-writable", "cannot write `no/where/out.npz` in folder `no/where`: no such file or directory"),
    ("red.png --trace no/t.json", 1, "output-not-writable", "cannot write `no/t.json` in folder `no`: no such file or directory"),
    ("red.png -o red.png/out", 1, "output-not-writable", "cannot write `red.png/out` in folder `red.png`: .*"),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "status", "code", "message"), CASES, ids=[case[0] or "nothing" for case in CASES])
def test_bad_input_is_refused_before_any_agent_starts(
    cocoi, fleet, make, picture, tmp_path, typed, status, code, message
):
    prepare_files(tmp_path, picture, make)
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments = ["infer", *typed.split()] + ([] if "-m" in typed.split() else ["-m", "signs.onnx"])

    human = cocoi(*arguments)
    assert (human.status, human.out) == (status, "")
    found = re.fullmatch(r"(?:(?:labels|preprocessing): .*\n|warning: .*\n)*error: (.*)\nhint: (.+)\n", human.err)
    assert found is not None, human.err
    assert re.fullmatch(message, found[1])
    assert "cocoi" in found[2]

    machine = cocoi(*arguments, "--json")
    assert machine.status == status
    document = machine.document
    assert list(document) == ["error", "message", "hint", "details"]
    assert document["error"] == code
    assert (document["message"], document["hint"]) == (found[1], found[2])

    assert fleet.asked == []
    assert sorted(path.name for path in tmp_path.iterdir()) == before


FLEET_ERRORS = [
    (FleetError("no agent answers"), 4, "fleet"),
    (DecodeError("2 agents answer; decoding needs 4"), 5, "cannot-decode"),
    (FailedError("it did not work"), 1, "failed"),
    (ConfigurationError("the file is unfit"), 3, "configuration"),
    (VersionError("agent-1", "127.0.0.1:5", "it speaks version 9"), 4, "version"),
]


@pytest.mark.parametrize(("error", "status", "code"), FLEET_ERRORS, ids=[case[2] for case in FLEET_ERRORS])
def test_errors_of_the_fleet_keep_their_status(cocoi, fleet, signs, picture, error, status, code):
    fleet.fail_on = {"red.png": error}
    outcome = cocoi("infer", picture(), "-m", signs)
    assert outcome.status == status
    assert f"error: {error.message}\nhint: " in outcome.err
    assert cocoi("infer", "red.png", "-m", signs, "--json").document["error"] == code
    assert fleet.closed


@pytest.mark.parametrize(
    ("fault", "hint"), [("out-of-memory", "less memory"), ("store-full", "disk space"), ("odd", "--scheme local")]
)
def test_an_agents_fault_has_a_hint_of_its_own(cocoi, fleet, signs, picture, fault, hint):
    class Fault:
        code = fault
        message = "details from the agent"

    fleet.fail_on = {"red.png": AgentFaultError("agent-2", "127.0.0.1:5", Fault())}
    outcome = cocoi("infer", picture(), "-m", signs)
    assert outcome.status == 4
    assert f"cannot use agent `agent-2` at 127.0.0.1:5: details from the agent (`{fault}`)" in outcome.err
    assert hint in outcome.err.splitlines()[-1]


def test_a_failed_write_keeps_the_old_file(cocoi, fleet, signs, picture, tmp_path, monkeypatch):
    (tmp_path / "out.npz").write_bytes(b"precious")

    def full(_handle):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    outcome = cocoi("infer", picture(), "-m", signs, "-o", "out.npz")
    assert outcome.status == 1
    assert "error: cannot write `out.npz` in folder `.`: no space left on device" in outcome.err
    assert (tmp_path / "out.npz").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npz", "red.png", "signs.onnx"]


def test_a_folder_that_takes_no_file_is_named(cocoi, fleet, signs, picture, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    outcome = cocoi("infer", picture(), "-m", signs, "-o", "locked/out.npz")
    shutil.rmtree(tmp_path / "locked")
    assert outcome.status == 1
    assert "in folder `locked`: permission denied" in outcome.err
    assert fleet.asked == []


def test_details_are_json_whatever_they_hold(cocoi, fleet, signs, picture):
    fleet.fail_on = {"red.png": FleetError("odd", value=np.float32("nan"), array=np.arange(2), path=os)}
    text = cocoi("infer", picture(), "-m", signs, "--json").out
    details = json.loads(text)["details"]
    assert details["value"] is None
    assert details["array"] == [0, 1]
