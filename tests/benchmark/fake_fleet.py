"""A fleet for benchmarks that takes no time: latencies are counted, answers are those of ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import onnxruntime

from cocoi_cli.planning.plan import ConvPlan, Plan
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.report import AgentReport, InferenceReport, Span, StageReport, Trace

AGENTS = ("agent-1", "agent-2", "agent-3")
SLOWNESS = {
    "auto": 0.5, "coded": 0.6, "hedged": 0.7, "replication": 0.8, "lt": 0.9, "uncoded": 1.0, "cocoi": 1.1, "fcdcc": 1.2,
    "local": 2.0, "device": 2.5,
}  # fmt: skip
TRACE = Trace((Span("agent-1", "run", 0.0, 0.01, {"outcome": "used"}), Span("host", "local", 0.01, 0.02, {})), {})


@dataclass
class Shelf:
    """Everything that the fleets of one benchmark have in common.

    Attributes:
        asked: Options of every inference, in order.
        opened: How many fleets were opened.
        closed: How many of them were closed.
        fails: Called with the options before each inference; may raise.
    """

    asked: list = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    fails: object = None
    changes: dict = field(default_factory=dict)

    def open(self, agents, kernels, model=None):
        assert isinstance(kernels, HostKernels)
        return Fleet(self, agents)

    @property
    def rows(self):
        """What was asked for, in words of rows."""
        return [word_of(options) for options in self.asked]


def word_of(options):
    if options.device:
        return f"device {options.device}"
    return f"{options.scheme}-forgetful" if options.forget else options.scheme


class Fleet:
    def __init__(self, shelf, agents):
        self._shelf, self._agents = shelf, agents

    def __enter__(self):
        self._shelf.opened += 1
        return self

    def __exit__(self, *_):
        self._shelf.closed += 1

    def process_ids(self):
        return {}

    def infer(self, model, tensors, *, name, options, progress):
        shelf = self._shelf
        shelf.asked.append(options)
        progress.fleet_ready(3)
        if shelf.fails is not None:
            shelf.fails(options)
        if not options.device:
            progress.planned(plan_of(options), ["conv1"])
        session = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_outputs()]
        outputs = dict(zip(names, session.run(names, dict(tensors)), strict=True))
        latency_s = 0.01 * SLOWNESS["device" if options.device else options.scheme] * (1 + len(shelf.asked) % 3 / 10)
        stage = StageReport("conv1", "conv", options.scheme, 3, 2, 1, "", latency_s / 2, 2, 1, 0, 0, 0, 1.0, 100, 50)
        report = InferenceReport(
            model=model.name,
            input=name,
            outputs=outputs,
            latency_s=latency_s,
            baseline_s=0.02,
            stages=(stage, replace(stage, name="conv2")),
            agents=tuple(AgentReport(agent, "up", 2, 1, 1, 0, 100, 50) for agent in AGENTS),
            warnings=(),
            check=None,
            trace=TRACE if options.trace else None,
        )
        return replace(report, **shelf.changes)


def plan_of(options):
    if options.scheme == "local":
        return Plan("local", 0, 0, options.transport, (ConvPlan("conv1", "local", 0, 0, 0, 0, "f16", ""),))
    layer = ConvPlan("conv1", options.scheme, options.n or 3, options.k or 2, 2, options.strips or 4, "f16", "")
    return Plan(options.scheme, layer.n, layer.k, options.transport, (layer,))
