"""What rehearsals have found, kept over processes: a plan that was settled once need not be rehearsed again.

Only a shortcut: the first answer of a process is still compared with plain ONNX Runtime, so a wrong entry
costs a second run and never gives a wrong answer. What cannot be read or is not ours is
as if it were absent, and a file that cannot be written is done without.
"""

from __future__ import annotations

import hashlib
import json
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import cocoi_agent
from cocoi_cli.errors import FailedError
from cocoi_cli.files import write
from cocoi_cli.model.onnxruntime_session import RUNTIME_VERSION
from cocoi_cli.planning.plan import LOCAL
from cocoi_cli.runtime.rungs import Rung, Step, raised, rung_of, stages_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.check import Tolerance

SCHEMA: Final = 3
MOST_ENTRIES: Final = 256
MOST_BYTES: Final = 1 << 20  # of a file that can be ours; the oldest entries go
MOST_NOTE: Final = 200
WORDS: Final = {
    "float32 answers": Rung.WIDE_ANSWERS,
    "float32": Rung.SINGLE,
    "float32 without a code": Rung.UNCODED,
    "host": Rung.HOST,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rehearsal has made of a plan: the stages that it has put on other rungs, in the plan's order."""

    steps: tuple[Step, ...] = ()

    def apply(self, asked: Plan) -> Plan:
        """The settled plan."""
        return raised(asked, self.steps)


def verdict_of(asked: Plan, settled: Plan) -> Verdict | None:
    """How one plan came of the other; None where no verdict leads from one to the other."""
    after = stages_of(settled)
    kept_here = {layer.layer: layer.reason for layer in settled.layers if layer.scheme == LOCAL}
    steps: list[Step] = []
    for name, stage in stages_of(asked).items():
        then = after.get(name)
        if then is not None:
            if then != stage:
                steps.append(Step(name, rung_of(then), then.reason[len(stage.reason) :].removeprefix("; ")))
            continue
        inside = next((layer.layer for layer in asked.layers if name in (layer.layer, layer.segment)), "")
        steps.append(Step(name, Rung.HOST, kept_here.get(inside, "")))
    verdict = Verdict(tuple(steps))
    return verdict if verdict.apply(asked) == settled else None


class Rehearsals:
    """A small file of verdicts."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is read at each look-up and need not exist."""
        self._path = path

    def find(self, key: str) -> Verdict | None:
        """The verdict that was kept under a key, if there is one."""
        return _verdict(self._read().get(key))

    def keep(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict; where the file cannot be written nothing is kept."""
        entries = self._read()
        entries.pop(key, None)
        entries[key] = _entry(verdict)
        kept = list(entries.items())[-MOST_ENTRIES:]
        while len(data := _document(kept)) > MOST_BYTES:
            kept = kept[len(kept) // 2 + 1 :]
        with suppress(OSError, FailedError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write(str(self._path), data)

    def _read(self) -> dict[str, Any]:
        """The entries of the file; none where it is not ours."""
        try:
            if self._path.stat().st_size > MOST_BYTES:
                return {}
            document = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        match document:
            case {"schema": int(schema), "entries": dict(entries)} if schema == SCHEMA:
                return entries
            case _:
                return {}


@lru_cache(maxsize=64)
def _key(
    sha256: str,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    asked: Plan,
    tolerance: Tolerance,
    software: tuple[str, str],
) -> str:
    about = {
        "model": sha256,
        "shapes": shapes,
        "plan": asdict(asked),
        "tolerance": asdict(tolerance),
        "software": software,
        "machine": platform.machine(),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def key_of(sha256: str, shapes: Mapping[str, tuple[int, ...]], asked: Plan, tolerance: Tolerance) -> str:
    """What a verdict depends on, as a digest: model, sizes, plan, tolerance, and the software and machine that round.

    What a plan says of times, agents and reasons makes no difference.

    Args:
        sha256: Of the model file.
        shapes: Input name to shape.
        asked: The plan before its rehearsal.
        tolerance: What it was rehearsed for.
    """
    layers = tuple(replace(layer, reason="", seconds=None, runner_up="") for layer in asked.layers)
    segments = tuple(replace(segment, reason="", seconds=None, runner_up="") for segment in asked.segments)
    bare = replace(asked, layers=layers, segments=segments, agents=(), prediction=None)
    sizes = tuple(sorted((name, tuple(shape)) for name, shape in shapes.items()))
    return _key(sha256, sizes, bare, tolerance, (cocoi_agent.__version__, RUNTIME_VERSION))


def _entry(verdict: Verdict) -> list[list[str]]:
    """A verdict as JSON has it: rung, note, and the stages that share them."""
    words = {rung: word for word, rung in WORDS.items()}
    groups: dict[tuple[str, str], list[str]] = {}
    for step in verdict.steps:
        groups.setdefault((words[step.rung], step.note), []).append(step.stage)
    return [[word, note, *stages] for (word, note), stages in groups.items()]


def _document(entries: list[tuple[str, Any]]) -> bytes:
    return json.dumps({"schema": SCHEMA, "entries": dict(entries)}, separators=(",", ":")).encode()


def _verdict(entry: object) -> Verdict | None:
    if not isinstance(entry, list):
        return None
    steps: list[Step] = []
    for group in entry:
        match group:
            case [str(word), str(note), *stages] if (
                word in WORDS and len(note) <= MOST_NOTE and all(isinstance(stage, str) for stage in stages)
            ):
                steps += [Step(stage, WORDS[word], note) for stage in stages]
            case _:
                return None
    return Verdict(tuple(steps))
