"""What rehearsals have found, kept over processes: a plan that was settled once need not be rehearsed again.

Only a shortcut: every answer is still compared with plain ONNX Runtime, so a wrong entry
costs a second run and never gives a wrong answer. What cannot be read or is not ours is
as if it were absent, and a file that cannot be written is done without.
"""

from __future__ import annotations

import hashlib
import json
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import cocoi_agent
from cocoi_cli.errors import FailedError
from cocoi_cli.files import write
from cocoi_cli.model.onnxruntime_session import RUNTIME_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cocoi_cli.planning.plan import Plan

SCHEMA: Final = 1
MOST_ENTRIES: Final = 256  # a few dozen kilobytes; the oldest go
MOST_BYTES: Final = 1 << 20  # of a file that can be ours
MOST_NOTE: Final = 200

Kind = Literal["asked", "float32", "host"]
KINDS: Final = frozenset({"asked", "float32", "host"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rehearsal has made of a plan.

    Attributes:
        kind: `asked`: nothing was changed; `float32`: that goes over the wire; `host`: nothing is distributed.
        note: Why, as it stands in the reasons of the layers; empty for `asked`.
    """

    kind: Kind
    note: str

    def apply(self, asked: Plan) -> Plan:
        """The settled plan."""
        match self.kind:
            case "asked":
                return asked
            case "float32":
                return asked.in_float32(self.note)
            case "host":
                # As the rehearsal comes to it: float32 is tried before the host.
                return (asked if asked.transport == "f32" else asked.in_float32("")).all_local(self.note)


def verdict_of(asked: Plan, settled: Plan) -> Verdict | None:
    """How one plan came of the other; None where no verdict leads from one to the other."""
    if settled == asked:
        return Verdict("asked", "")
    note = next((layer.reason for layer in settled.layers if layer.layer in asked.distributed), "")
    verdict = Verdict("float32", note.rpartition("; ")[2]) if settled.distributed else Verdict("host", note)
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
        entries[key] = asdict(verdict)
        kept = dict(list(entries.items())[-MOST_ENTRIES:])
        data = json.dumps({"schema": SCHEMA, "entries": kept}, indent=1).encode()
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


def key_of(sha256: str, shapes: Mapping[str, tuple[int, ...]], asked: Plan) -> str:
    """What a verdict depends on, as a digest: model, sizes, plan, and the software and machine that round.

    Args:
        sha256: Of the model file.
        shapes: Input name to shape.
        asked: The plan before its rehearsal.
    """
    about = {
        "model": sha256,
        "shapes": sorted((name, list(shape)) for name, shape in shapes.items()),
        "plan": asdict(asked),
        "cocoi": cocoi_agent.__version__,
        "onnxruntime": RUNTIME_VERSION,
        "machine": platform.machine(),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _verdict(entry: object) -> Verdict | None:
    match entry:
        case {"kind": "asked" | "float32" | "host" as kind, "note": str(note)} if len(note) <= MOST_NOTE:
            return Verdict(kind, note)
        case _:
            return None
