"""Random histories of answers against plain ONNX Runtime: is any answer wrong?

    python bench/histories.py [--histories 1000] [--seed 1] [--data FOLDER] [--models a,b] [--json FILE]

Every classifier of the development data sees its photographs (one of Fashion-MNIST: test pictures) on agents inside
the host, once by the default plan of the scheme `coded` and once by the planner's (`auto`, for as many devices as
`cocoi plan --devices` would assume). Both plans are settled by a rehearsal, as `cocoi infer` does it, on the first
picture alone. In each history every strip of every stage loses answers at random, as many as it can, and the
others arrive in random order (survivors.py); the stages behind it go on with what was decoded.

The error is the largest difference over the largest value, of the model's output and, where that is a softmax, of
the logits before it. The two best classes of a picture are *close* where their logits in plain ONNX Runtime are
nearer to each other than the limit on the error, by the same measure; a best class that differs there is counted
apart as well. The exit status is 1 if an error is above the limit or a best class differs, close or not.

The histories are shared out evenly among the models of which a plan distributes anything, then among their plans
and pictures. Where a plan gives shares to the host, which has a thread of its own, a seed does not repeat a history
exactly.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported: as the command line has it

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from classifiers import classifiers, data_folder, with_logits
from survivors import Survivors

from cocoi_cli.benchmark.schedule import generator
from cocoi_cli.commands.modelled import Source, modelled
from cocoi_cli.model.load import load_model
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.planning.planner import make_plan
from cocoi_cli.planning.request import Request
from cocoi_cli.runtime.check import Tolerance, compare
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.preparing import Preparations
from cocoi_cli.runtime.rungs import Rung, rung_of, stages_of
from cocoi_cli.runtime.settling import Case, Settler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from classifiers import Classifier

    from cocoi_cli.model.network import LoadedModel
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.inference import Outcome
    from cocoi_cli.runtime.report import AnyArray

LIMIT: Final = 1e-2
TRANSPORT: Final = "f16"
COLUMNS: Final = "histories  stages  wider  decoded   gain   output   logits  other class      s"


@dataclass(slots=True)
class Tally:
    """What came of the histories of one model by one plan.

    Attributes:
        model: Its name.
        plan: `coded` or `auto`.
        stages: How many are distributed after the rehearsal.
        wider: Of these, how many it has sent wider than float16.
        close: Pictures whose two best classes are close.
        histories: How many were run.
        error: Largest of the model's output.
        logits_error: Largest of its logits.
        differing: Histories with another best class.
        differing_close: Those of them on pictures that are in `close`.
        wrong: What was shown in histories that are wrong, one entry each.
        decoded: Strips in which a piece had to be decoded, over all histories.
        gain: Largest noise gain of a decoding.
        seconds: Of all histories, without preparation.
    """

    model: str
    plan: str
    stages: int
    wider: int
    close: list[str]
    histories: int = 0
    error: float = 0.0
    logits_error: float = 0.0
    differing: int = 0
    differing_close: int = 0
    wrong: list[str] = field(default_factory=list)
    decoded: int = 0
    gain: float = 1.0
    seconds: float = 0.0

    def add(self, outcome: Outcome, truth: Truth, seconds: float) -> None:
        """Count one more history."""
        report = compare(outcome.outputs, truth.outputs, Tolerance(TRANSPORT))
        error, logits_error = report.per_output[truth.output], report.per_output[truth.logits]
        differs = report.top1_equal is False
        self.histories += 1
        self.error, self.logits_error = max(self.error, error), max(self.logits_error, logits_error)
        self.differing += differs
        self.differing_close += differs and truth.is_close
        if differs or max(error, logits_error) > LIMIT:
            self.wrong.append(f"{truth.picture}: output {error:.1e}, logits {logits_error:.1e}, gap {truth.gap:.1e}")
        self.decoded += sum(stage.decoded for stage in outcome.stages)
        self.gain = max(self.gain, *(stage.gain for stage in outcome.stages))
        self.seconds += seconds

    def row(self) -> str:
        """The figures under `COLUMNS`."""
        if not self.histories:
            return f"{0:9}  {self.stages:6}  {'' if self.stages else 'everything stays on the host'}".rstrip()
        differing = f"{self.differing} ({self.differing_close} close)" if self.differing else "0"
        return (
            f"{self.histories:9}  {self.stages:6}  {self.wider:5}  {self.decoded:7}  {self.gain:5.1f}"
            f"  {self.error:7.1e}  {self.logits_error:7.1e}  {differing:>11}  {self.seconds / self.histories:5.2f}"
        )


@dataclass(frozen=True, slots=True)
class Truth:
    """What plain ONNX Runtime makes of a picture.

    Attributes:
        picture: Its name.
        outputs: The model's own, and the logits.
        output, logits: Their names; equal where there is no softmax.
        gap: Between the logits of the two best classes, by the largest.
    """

    picture: str
    outputs: Mapping[str, AnyArray]
    output: str
    logits: str
    gap: float

    @property
    def is_close(self) -> bool:
        """Whether an error within the limit could change the best class."""
        return self.gap <= LIMIT


def gap_of(logits: AnyArray) -> float:
    """Between the largest two values, by the largest magnitude; 0 where all are 0."""
    values = np.sort(logits.astype(np.float64).reshape(-1))
    largest = float(np.abs(values).max())
    return float(values[-1] - values[-2]) / largest if largest else 0.0


def shared_out(count: int, places: int) -> list[int]:
    """So many histories for each of some places; they differ by one at most, and the first have more."""
    return [count // places + (place < count % places) for place in range(places)] if places else []


class Trial:
    """A classifier, its plans, and the histories by them."""

    def __init__(self, classifier: Classifier, agents: int, kernels: Kernels) -> None:
        """Plan; nothing is run.

        Args:
            classifier: What to run.
            agents: How many there are.
            kernels: What agents and host compute with.
        """
        self.name, self._pictures, self._kernels = classifier.name, classifier.pictures, kernels
        self._model = load_model(classifier.path)
        self._shapes = {name: array.shape for name, array in self._first().items()}
        self._preparations = Preparations(kernels)
        prepared = self._preparations.prepare(self._model, self._shapes)
        fleet, segments = modelled(Source(devices=agents)).model, self._preparations.segments()
        self._asked: dict[str, Plan] = {
            "coded": default_plan(prepared.layers, agents=agents, scheme="coded", n=None, k=None, transport=TRANSPORT),
            "auto": make_plan(prepared.layers, segments, fleet, Request(transport=TRANSPORT)),
        }

    @property
    def distributes(self) -> bool:
        """Whether any of its plans gives agents anything to do."""
        return any(stages_of(plan) for plan in self._asked.values())

    async def run(self, histories: int, seed: int) -> list[Tally]:
        """Settle the plans, run so many histories, and count."""
        settler = Settler(self._preparations, self._kernels, None)
        baseline = self._kernels.baseline(self._model, self._first(), repeat=False)
        tolerance = Tolerance(TRANSPORT)
        settled = {
            name: await settler.settle(Case(self._model, self._shapes, plan, tolerance), self._first(), baseline)
            for name, plan in self._asked.items()
        }
        with tempfile.TemporaryDirectory() as folder:
            watched, logits = with_logits(self._model, Path(folder))
            truths = [self._truth(picture, watched, logits) for picture in self._pictures]
            self._preparations.prepare(watched, self._shapes)
            close = [truth.picture for truth in truths if truth.is_close]
            tallies = {name: tally_of(self.name, name, plan, close) for name, plan in settled.items()}
            fleets = {
                name: Survivors(self._preparations.cut(plan).network, plan, self._kernels)
                for name, plan in settled.items()
                if stages_of(plan)
            }
            turns = itertools.cycle(list(itertools.product(truths, fleets)))
            for number, (truth, name) in enumerate(itertools.islice(turns, histories)):
                rng = generator(seed, "history", self.name, name, truth.picture, number)
                begun = time.perf_counter()
                outcome = await fleets[name].infer(self._pictures[truth.picture], rng)
                tallies[name].add(outcome, truth, time.perf_counter() - begun)
            for fleet in fleets.values():
                fleet.close()
        return list(tallies.values())

    def _first(self) -> Mapping[str, AnyArray]:
        return next(iter(self._pictures.values()))

    def _truth(self, picture: str, watched: LoadedModel, logits: str) -> Truth:
        tensors, output = self._pictures[picture], self._model.outputs[0].name
        outputs = dict(self._kernels.baseline(watched, tensors, repeat=False).outputs)
        outputs |= self._kernels.baseline(self._model, tensors, repeat=False).outputs
        return Truth(picture, outputs, output, logits, gap_of(outputs[logits]))


def tally_of(model: str, name: str, plan: Plan, close: list[str]) -> Tally:
    """Nothing counted yet."""
    stages = stages_of(plan).values()
    return Tally(model, name, len(stages), sum(rung_of(stage) > Rung.HALF for stage in stages), close)


def main() -> int:
    """Run, print, write; 1 if an answer is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=1000, help="of all models together (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of every draw (default %(default)s)")
    parser.add_argument("--agents", type=int, default=10, help="inside the host (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime in each run (default %(default)s)")
    parser.add_argument("--models", help="only these, with commas, without `.onnx`")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="default: `data` in the folder of COCOI_SHARED")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything there")
    options = parser.parse_args()
    found = classifiers(data_folder(options.data))
    names = [each.name for each in found] if options.models is None else options.models.split(",")
    unknown = [name for name in names if name not in {each.name for each in found}]
    if unknown:
        parser.error(f"no classifier `{unknown[0]}`; there are {', '.join(each.name for each in found)}")
    chosen = [each for each in found if each.name in names]
    tallies = run_all(chosen, options.histories, options.seed, options.agents, options.threads)
    document = {"histories": sum(each.histories for each in tallies), "limit": LIMIT, "seed": options.seed}
    if options.json:
        rows = [asdict(each) for each in tallies]
        options.json.write_text(json.dumps({**document, "agents": options.agents, "rows": rows}, indent=2) + "\n")
    return verdict(tallies)


def run_all(chosen: Sequence[Classifier], histories: int, seed: int, agents: int, threads: int) -> list[Tally]:
    """Every model in turn; a line is printed for each plan as soon as it is done."""
    kernels = HostKernels(threads=threads)
    trials = [Trial(each, agents, kernels) for each in chosen]
    busy = [trial for trial in trials if trial.distributes]
    counts = dict(zip((trial.name for trial in busy), shared_out(histories, len(busy)), strict=True))
    width = max((len(trial.name) for trial in trials), default=0)
    print(f"{'':{width}}  plan   {COLUMNS}")
    tallies = []
    for trial in trials:
        for tally in asyncio.run(trial.run(counts.get(trial.name, 0), seed)):
            print(f"{tally.model:{width}}  {tally.plan:5}  {tally.row()}", flush=True)
            tallies.append(tally)
    return tallies


def verdict(tallies: Sequence[Tally]) -> int:
    """Say what came of it; the exit status."""
    for tally in tallies:
        for text in tally.wrong:
            print(f"wrong: {tally.model}, {tally.plan}, {text}")
    for model, close in {tally.model: tally.close for tally in tallies if tally.close}.items():
        print(f"close best classes in plain ONNX Runtime: {model}: {', '.join(close)}")
    histories, wrong = sum(each.histories for each in tallies), sum(len(each.wrong) for each in tallies)
    worst = max((max(each.error, each.logits_error) for each in tallies), default=0.0)
    differing, apart = sum(each.differing for each in tallies), sum(each.differing_close for each in tallies)
    print(
        f"\n{histories} histories: largest error {worst:.1e} (limit {LIMIT:g}), another best class in {differing}"
        f" ({apart} of them on pictures with close ones); {wrong} wrong"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
