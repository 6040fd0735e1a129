"""Is what the planner decides ever slower than one machine alone? Reads what `cocoi bench` has written.

    cocoi bench MODEL … --schemes auto,local,device --scenarios none -o out.json
    python bench/never_slower.py out.json [more.json …] [--json FILE]

For each model and scenario the median of `auto` stands beside that of the best single device: the coordinator alone
(`local`) or the fastest device (`device`), whichever is quicker. Their ratio has a 95 % interval from resampling
whole repetitions, in which all of them ran in turns (docs/benchmark.md). `auto` is *slower* where the whole interval
lies above 1: chance alone says so of one model in forty. Where everything stays on the coordinator, `auto` and
`local` are the same thing measured twice.

The exit status is 1 if `auto` is slower anywhere, gave no answer or another best class, or if something was not
measured often enough for an interval (five repetitions).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cocoi_cli.benchmark.records import read_run
from cocoi_cli.benchmark.summary import SINGLE, summarise
from cocoi_cli.planning.fields import FieldError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.benchmark.records import Run
    from cocoi_cli.benchmark.summary import Summary

AUTO: Final = "auto"
SLOWER, NOT_SLOWER, UNKNOWN = "slower", "not slower", "not measured"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One model in one scenario.

    Attributes:
        model, scenario: Their names.
        auto_s: Median latency of the planner's way; None where there is none.
        single: `local` or `device`, whichever was quicker; empty where neither was measured.
        single_s: Its median latency.
        ratio, low, high: `auto_s` by `single_s` of the repetitions that both have, and its 95 % interval.
        pairs: How many these are.
        unanswered: Inferences of `auto` without an answer.
        error: Largest relative error of `auto`; None without an answer.
        other_class: Whether `auto` named another best class.
        plan: What the planner decided.
        verdict: `slower`, `not slower`, or `not measured`.
    """

    model: str
    scenario: str
    auto_s: float | None
    single: str
    single_s: float | None
    ratio: float | None
    low: float | None
    high: float | None
    pairs: int
    unanswered: int
    error: float | None
    other_class: bool
    plan: str
    verdict: str

    @property
    def good(self) -> bool:
        """Whether the promise is kept, as far as this was measured."""
        return self.verdict == NOT_SLOWER and not self.unanswered and not self.other_class


def verdicts(run: Run) -> list[Verdict]:
    """One for each model and scenario of a benchmark, in order."""
    found = {(each.model, each.scenario, each.row): each for each in summarise(run)}
    pairs = [(model.name, scenario) for model in run.settings.models for scenario in run.settings.scenarios]
    return [
        _verdict(model, scenario, [found.get((model, scenario, row)) for row in (AUTO, *SINGLE)])
        for model, scenario in pairs
    ]


def _verdict(model: str, scenario: str, rows: Sequence[Summary | None]) -> Verdict:
    auto, *others = rows
    singles = [(each.p50_s, each.row) for each in others if each is not None and each.p50_s is not None]
    single_s, single = min(singles, default=(None, ""))
    ratio = None if auto is None else auto.to_single
    verdict = UNKNOWN
    if ratio is not None and ratio.low is not None:
        verdict = SLOWER if ratio.low > 1 else NOT_SLOWER
    return Verdict(
        model=model,
        scenario=scenario,
        auto_s=None if auto is None else auto.p50_s,
        single=single,
        single_s=single_s,
        ratio=None if ratio is None else ratio.value,
        low=None if ratio is None else ratio.low,
        high=None if ratio is None else ratio.high,
        pairs=0 if ratio is None else ratio.pairs,
        unanswered=0 if auto is None else auto.inferences - auto.answered,
        error=None if auto is None else auto.max_rel_error,
        other_class=auto is not None and auto.top1_equal is False,
        plan="" if auto is None else auto.absent or auto.plan,
        verdict=verdict,
    )


def main() -> int:
    """Read, print, write; 1 if the promise is not kept or not shown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, help="what `cocoi bench -o` has written")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the verdicts there")
    options = parser.parse_args()
    found: list[Verdict] = []
    for path in options.results:
        try:
            run = read_run(json.loads(path.read_text()))
        except (OSError, ValueError, FieldError) as error:
            parser.error(f"`{path}` is not what `cocoi bench -o` writes: {error}")
        if not run.complete:
            print(f"`{path}` is of a benchmark that was not finished", file=sys.stderr)
        found += verdicts(run)
    print_table(found)
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in found], indent=2) + "\n")
    return 0 if all(each.good for each in found) else 1


def print_table(found: Sequence[Verdict]) -> None:
    """A line for each verdict, then how many there are of each kind."""
    several = len({each.scenario for each in found}) > 1
    names = [f"{each.model}, {each.scenario}" if several else each.model for each in found]
    width = max(map(len, names), default=0)
    print(f"{'':{width}}   auto ms  best single ms          ratio  95 % interval  pairs  verdict        plan")
    for name, each in zip(names, found, strict=True):
        single = f"{milliseconds(each.single_s)} {each.single}"
        interval = "-" if each.low is None or each.high is None else f"{each.low:.2f}-{each.high:.2f}"
        ratio = "-" if each.ratio is None else f"{each.ratio:.2f}"
        print(
            f"{name:{width}}  {milliseconds(each.auto_s):>8}  {single:<20} {ratio:>7}  {interval:>13}  {each.pairs:5}"
            f"  {each.verdict:<12}   {each.plan}{remark(each)}"
        )
    count = {word: sum(each.verdict == word for each in found) for word in (NOT_SLOWER, SLOWER, UNKNOWN)}
    print(f"\n{', '.join(f'{number} {word}' for word, number in count.items())} of {len(found)}")


def milliseconds(seconds: float | None) -> str:
    """With three digits."""
    if seconds is None:
        return "-"
    value = 1000 * seconds
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def remark(verdict: Verdict) -> str:
    """What else is wrong, to be put behind the line."""
    lost = [f"{verdict.unanswered} without an answer"] if verdict.unanswered else []
    return "".join(f"; {text}" for text in (*lost, *(["another best class"] if verdict.other_class else [])))


if __name__ == "__main__":
    sys.exit(main())
