"""What a benchmark leaves behind: one sample per inference, in cells, and the document that holds them. Pure.

The document is written after every repetition and read again by `--resume`; figures such as medians are in it
for readers, and are computed anew when it is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cocoi_cli.benchmark.schedule import Turn
from cocoi_cli.planning.fields import Field, FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = 1
PROGRAM: Final = "cocoi bench"


@dataclass(frozen=True, slots=True)
class Sample:
    """One inference.

    Attributes:
        repetition: Which; samples of equal repetition in different rows form a pair.
        latency_s: Seconds from the tensor to the last output; None where there was no answer.
        error: Code of the error; empty where there was an answer.
        bytes_out, bytes_in: Tensor bytes to and from all agents.
        host_cpu_s: Processor seconds of this process and of that of its kernels.
        used: Answers that were used.
        late: Answers that came too late.
        cancelled: Shares that were given up before they were computed.
        living: Agents that were up when it began.
        lost: Agents that were lost in it.
        max_rel_error: Largest relative difference from plain ONNX Runtime; None where there was no answer.
        top1_equal: Whether the largest class is the same; None where there are no classes.
        faults: Faults in the middle of it, as calls of the faults script.
        stages_s: Seconds of each stage by name.
        note: Which device it was, or another remark; empty where there is none.
    """

    repetition: int
    latency_s: float | None
    error: str = ""
    bytes_out: int = 0
    bytes_in: int = 0
    host_cpu_s: float = 0.0
    used: int = 0
    late: int = 0
    cancelled: int = 0
    living: int = 0
    lost: int = 0
    max_rel_error: float | None = None
    top1_equal: bool | None = None
    faults: tuple[tuple[str, ...], ...] = ()
    stages_s: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(slots=True)
class Cell:
    """One row in one scenario on one model; samples are added as they are measured.

    Attributes:
        model: Name of the model.
        scenario: Name of the scenario.
        row: Name of the row.
        transport: What shares travel as; empty where none do.
        plan: What was decided, in a few words; empty where nothing was.
        absent: Why the row cannot run at all; empty where it can.
        predicted_s: What the planner expects; None where it did not decide.
        samples: In the order of measurement.
    """

    model: str
    scenario: str
    row: str
    transport: str = ""
    plan: str = ""
    absent: str = ""
    predicted_s: float | None = None
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model of the benchmark, and what it was run on."""

    name: str
    sha256: str
    input: str
    shapes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the draws and the meaning of the figures: a benchmark is only resumed with equal ones.

    Attributes:
        models: In order.
        rows: Names of the rows, in order.
        scenarios: Names, in order.
        fleet: `embedded` or the id of the fleet file.
        devices: Names of the devices.
        seed: Of all draws.
        inferences: Per cell.
        warm_up: Inferences before each cell that are not counted.
        transport: Of rows that fix none.
        tolerance: As asked for; None for what goes with the transport.
        n, k: As asked for; None by rule.
        host_kernels: `thread` or `process`: where the coordinator's own convolutions run.
    """

    models: tuple[ModelFacts, ...]
    rows: tuple[str, ...]
    scenarios: tuple[str, ...]
    fleet: str
    devices: tuple[str, ...]
    seed: int
    inferences: int
    warm_up: int
    transport: str
    tolerance: float | None
    n: int | None
    k: int | None
    host_kernels: str


@dataclass(slots=True)
class Run:
    """A benchmark, finished or not.

    Attributes:
        settings: What was asked for.
        made: When it began, ISO 8601.
        command: The command line that repeats it.
        conditions: Facts about this machine and the devices, as JSON has them.
        cells: In the order of models, scenarios and rows.
        standing: `model/scenario` to the calls of the faults script that stood.
        complete: Whether nothing is left to measure.
    """

    settings: Settings
    made: str
    command: str
    conditions: Mapping[str, Any]
    cells: list[Cell]
    standing: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    complete: bool = False

    def cell(self, model: str, scenario: str, row: str) -> Cell:
        """The cell of these names, made if it is not there."""
        for cell in self.cells:
            if (cell.model, cell.scenario, cell.row) == (model, scenario, row):
                return cell
        self.cells.append(Cell(model, scenario, row))
        return self.cells[-1]

    def done(self, model: str, scenario: str) -> frozenset[Turn]:
        """The turns that have been taken."""
        return frozenset(
            Turn(sample.repetition, cell.row)
            for cell in self.cells
            if (cell.model, cell.scenario) == (model, scenario)
            for sample in cell.samples
        )


def read_run(tree: Any) -> Run:  # noqa: ANN401 - any JSON value
    """The benchmark in a document.

    Raises:
        FieldError: If a value is missing or unfit.
    """
    document = Field(tree)
    document.at("program").one_of(PROGRAM)
    if document.at("format").count() != FORMAT:
        raise FieldError("format", f"found {document.at('format').count()}, expected {FORMAT}")
    conditions = tree.get("conditions")
    return Run(
        settings=_settings(document.at("settings")),
        made=document.at("made").text(),
        command=document.at("command").text(),
        conditions=conditions if isinstance(conditions, dict) else {},
        cells=[_cell(item) for item in document.at("cells").items()],
        standing={name: _calls(each) for name, each in document.at("standing").members()},
        complete=document.at("complete").plain() is True,
    )


def _settings(field: Field) -> Settings:
    return Settings(
        models=tuple(_model(item) for item in field.at("models").items()),
        rows=_texts(field.at("rows")),
        scenarios=_texts(field.at("scenarios")),
        fleet=field.at("fleet").text(),
        devices=_texts(field.at("devices")),
        seed=field.at("seed").count(),
        inferences=field.at("inferences").positive(),
        warm_up=field.at("warm_up").count(),
        transport=field.at("transport").text(),
        tolerance=field.at("tolerance").optional(Field.number),
        n=field.at("n").optional(Field.positive),
        k=field.at("k").optional(Field.positive),
        host_kernels=field.at("host_kernels").text(),
    )


def _model(field: Field) -> ModelFacts:
    shapes = {name: tuple(size.count() for size in each.items()) for name, each in field.at("shapes").members()}
    return ModelFacts(field.at("name").text(), field.at("sha256").text(), field.at("input").text(), shapes)


def _cell(field: Field) -> Cell:
    return Cell(
        model=field.at("model").text(),
        scenario=field.at("scenario").text(),
        row=field.at("row").text(),
        transport=field.at("transport").text(),
        plan=field.at("plan").text(),
        absent=field.at("absent").text(),
        predicted_s=field.at("predicted_s").optional(Field.duration),
        samples=[_sample(item) for item in field.at("samples").items()],
    )


def _sample(field: Field) -> Sample:
    return Sample(
        repetition=field.at("repetition").count(),
        latency_s=field.at("latency_s").optional(Field.duration),
        error=field.at("error").text(),
        bytes_out=field.at("bytes_out").count(),
        bytes_in=field.at("bytes_in").count(),
        host_cpu_s=field.at("host_cpu_s").number(),
        used=field.at("used").count(),
        late=field.at("late").count(),
        cancelled=field.at("cancelled").count(),
        living=field.at("living").count(),
        lost=field.at("lost").count(),
        max_rel_error=field.at("max_rel_error").optional(Field.number),
        top1_equal=field.at("top1_equal").optional(lambda each: each.plain() is True),
        faults=_calls(field.at("faults")),
        stages_s={name: each.number() for name, each in field.at("stages_s").members()},
        note=field.at("note").text(),
    )


def _calls(field: Field) -> tuple[tuple[str, ...], ...]:
    return tuple(_texts(call) for call in field.items())


def _texts(field: Field) -> tuple[str, ...]:
    return tuple(item.text() for item in field.items())
