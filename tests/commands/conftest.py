"""A fake fleet with fixed times, small models, and a way to run `cocoi` inside the test's process."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from cocoi_cli import __main__
from cocoi_cli.commands import infer
from cocoi_cli.planning.plan import ConvPlan, Plan
from cocoi_cli.runtime.report import AgentReport, CheckReport, InferenceReport, Span, StageReport, Trace, Verification

STAGES = (
    StageReport("local 1", "local", "local", 0, 0, 0, "", 0.0004, 0, 0, 0, 0, 0, 1.0, 0, 0),
    StageReport(
        "conv1", "conv", "coded", 6, 4, 6, "(6,4) over 8 rows, 2 strips", 0.0123, 24, 3, 2, 0, 2, 1.5, 9216, 6144
    ),
    StageReport(
        "features.block.12.conv",
        "conv",
        "coded",
        6,
        4,
        3,
        "(6,4) over 4 rows, 1 strip",
        0.2,
        10,
        0,
        6,
        2,
        1,
        2.0,
        640,
        99999,
    ),
    StageReport("local 2", "local", "local", 0, 0, 0, "", 0.0011, 0, 0, 0, 0, 0, 1.0, 0, 0),
)
AGENTS = (
    AgentReport("agent-1", "up", 18, 1, 0, 0, 5000, 123456),
    AgentReport("agent-2", "killed", 2, 0, 3, 1, 1_200_000, 0),
)
PLAN = Plan(
    "coded",
    6,
    4,
    "f16",
    (
        ConvPlan("conv1", "coded", 6, 4, 2, 2, "f16", "(6,4) over 8 rows, 2 strips"),
        ConvPlan("features.block.12.conv", "coded", 6, 4, 2, 1, "f16", "(6,4) over 4 rows, 1 strip"),
        ConvPlan("head", "local", 0, 0, 0, 0, "f16", "0.02 MMAC: too small to cut"),
    ),
)
TRACE = Trace(
    (
        Span("host", "encode", 0.0, 0.001, {"stage": "conv1", "strip": 0}),
        Span("agent-1", "send", 0.001, 0.002, {"stage": "conv1", "strip": 0, "share": 0, "outcome": "used"}),
        Span("agent-1", "run", 0.002, 0.004, {"stage": "conv1", "strip": 0, "share": 0, "outcome": "used"}),
    ),
    {"agent-1": 0.0001},
)


@dataclass
class FakeFleet:
    """Answers like the real one: ONNX Runtime's outputs, but times and counts that never change."""

    asked: list[tuple[str, int]] = field(default_factory=list)
    calls: list[dict] = field(default_factory=list)
    fail_on: dict[str, Exception] = field(default_factory=dict)
    check: CheckReport = field(default_factory=lambda: CheckReport(3.1e-4, 1e-2, True, True, {"logits": 3.1e-4}))
    verification: Verification = field(default_factory=lambda: Verification(9, 0, 0, {}, 0.004))
    warnings: tuple[str, ...] = ()
    closed: bool = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def infer(self, model, tensors, *, name="", options, progress):
        self.calls.append({"name": name, "tensors": dict(tensors), "options": options})
        local = options.scheme == "local"
        if not local:
            progress.fleet_ready(2)
            progress.planned(PLAN, [stage.name for stage in STAGES])
        for failing, error in self.fail_on.items():
            if failing in name:
                raise error
        for index, stage in enumerate(() if local else STAGES):
            progress.stage_started(index, stage.name, stage.kind, stage.strips)
            progress.strip_done(index, stage.strips, stage.strips)
            progress.stage_done(index, stage)
        session = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return InferenceReport(
            model=model.name,
            input=name,
            outputs=dict(zip(names, session.run(names, dict(tensors)), strict=True)),
            latency_s=0.812,
            baseline_s=0.095,
            stages=STAGES[:1] if local else STAGES,
            agents=() if local else AGENTS,
            warnings=self.warnings,
            check=self.check if options.check else None,
            trace=replace(TRACE) if options.trace else None,
            verification=self.verification if options.verify else None,
        )


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def fixed_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path_factory):
    """A user without a fleet: file, keys and cache are looked for in a folder of this test."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("COCOI_FLEET", str(home / "fleet.toml"))
    monkeypatch.setenv("COCOI_DATA", str(home / "data"))
    monkeypatch.setenv("COCOI_CACHE", str(home / "cache"))
    return home


@pytest.fixture
def fleet(monkeypatch) -> FakeFleet:
    fake = FakeFleet()

    def open_fleet(scheme, agents):
        fake.asked.append((scheme, agents))
        return fake

    monkeypatch.setattr(infer, "open_fleet", open_fleet)
    return fake


@pytest.fixture
def cocoi(capsys, monkeypatch, tmp_path):
    """Run a command in `tmp_path`; errors of ours must keep their form."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> Outcome:
        capsys.readouterr()
        status = __main__.run([str(each) for each in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


def classifier(path: Path, labels=("stop", "yield", "go", "turn"), *, size=8, softmax=False, metadata=None) -> Path:
    """`image` Nx3xSxS to `logits` Nx4: the mean colour through a fixed matrix."""
    weight = np.zeros((4, 3, 1, 1), np.float32)
    weight[0, 0], weight[1, 1], weight[2, 2] = 4.0, 2.0, 3.0
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["mixed"], name="conv1"),
        helper.make_node("GlobalAveragePool", ["mixed"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat" if softmax else "logits"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["flat"], ["logits"]))
    props = {"labels": json.dumps(labels)} if labels else {}
    props["preprocess"] = json.dumps(
        {"layout": "NCHW", "color": "RGB", "scale": 1 / 255, "resize": {"mode": "exact", "size": [size, size]}}
    )
    return _save(
        path,
        nodes,
        [("image", ["N", 3, size, size])],
        [("logits", ["N", 4])],
        [("weight", weight)],
        props | (metadata or {}),
    )


def enlarger(path: Path) -> Path:
    """`image` 1x3x8x8 to `picture` 1x3x16x16 in the same units."""
    nodes = [helper.make_node("Resize", ["image", "", "scales"], ["picture"], mode="nearest")]
    props = {"preprocess": json.dumps({"color": "RGB", "scale": 1 / 255, "resize": {"mode": "exact"}})}
    scales = np.array([1, 1, 2, 2], np.float32)
    return _save(path, nodes, [("image", [1, 3, 8, 8])], [("picture", [1, 3, 16, 16])], [("scales", scales)], props)


def adder(path: Path) -> Path:
    """Two inputs, `a` and `b`, 1x2 each; output `sum`."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"])]
    return _save(path, nodes, [("a", [1, 2]), ("b", [1, 2])], [("sum", [1, 2])], [], {})


def _save(path, nodes, inputs, outputs, weights, metadata):
    ends = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in each] for each in (inputs, outputs)]
    graph = helper.make_graph(nodes, path.stem, *ends, [numpy_helper.from_array(w, n) for n, w in weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def signs(tmp_path) -> Path:
    return classifier(tmp_path / "signs.onnx")


@pytest.fixture
def make(tmp_path):
    """Builders of models, by name, into `tmp_path`."""
    builders = {"classifier": classifier, "enlarger": enlarger, "adder": adder}
    return lambda kind, name, **options: builders[kind](tmp_path / name, **options)


@pytest.fixture
def picture(tmp_path):
    """Write a picture of one colour and return its name."""

    def write(name="red.png", color=(255, 0, 0), size=(12, 10)):
        Image.new("RGB", size, color).save(tmp_path / name)
        return name

    return write
