"""The child of a `KernelProcess`: takes one request after another, and ends with its parent.

Started with `python -m`. Requests come on standard input, answers leave on standard output; arrays
lie in two shared regions, one for each direction. A thread reads the requests, so that the end of the
parent, which closes the pipe, ends a computation too.

On the pipes: `u32` little endian, so many bytes of msgpack (a map), then `tail` bytes as they are.
"""

from __future__ import annotations

import argparse
import os
import queue
import struct
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from cocoi_cli.errors import CocoiError
from cocoi_cli.model.network import LoadedModel, LocalStage, TensorInfo
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.shared_arrays import Described, Layout, Region, restore

if TYPE_CHECKING:
    from collections.abc import Callable

    from cocoi_cli.runtime.report import AnyArray

_LENGTH: Final = struct.Struct("<I")


class Frame(NamedTuple):
    """A message: its fields, and the bytes behind them."""

    fields: dict[str, Any]
    tail: bytes


def write_frame(pipe: IO[bytes], fields: dict[str, Any], tail: bytes = b"") -> None:
    """Write a message.

    Raises:
        OSError: If nobody reads any more.
    """
    packed = msgpack.packb({**fields, "tail": len(tail)}, default=str)
    pipe.write(_LENGTH.pack(len(packed)) + packed)
    if tail:
        pipe.write(tail)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> Frame | None:
    """Read a message; None where the other side has ended."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    packed = pipe.read(length)
    if len(packed) < length:
        return None
    fields: dict[str, Any] = msgpack.unpackb(packed, strict_map_key=False)
    tail = pipe.read(fields["tail"]) if fields["tail"] else b""
    return Frame(fields, tail) if len(tail) == fields["tail"] else None


class Child:
    """What the child keeps between requests: models and weights under the parent's numbers."""

    def __init__(self, kernels: HostKernels, incoming: Region, outgoing: Region) -> None:
        """Compute with `kernels`; arrays come in one region and leave in the other."""
        self._kernels = kernels
        self._in, self._out = incoming, outgoing
        self._stages: dict[int, LocalStage] = {}
        self._graphs: dict[int, bytes] = {}
        self._weights: dict[int, AnyArray] = {}
        self._words: dict[str, Callable[[Frame], object]] = {
            "stage": self._keep_stage,
            "graph": self._keep_graph,
            "open": self._open,
            "forget-stage": self._forget_stage,
            "forget": self._forget,
            "run-stage": self._run_stage,
            "run-program": self._run_program,
            "baseline": self._baseline,
        }

    def answer(self, frame: Frame) -> dict[str, Any]:
        """Do what a request asks for; the answer's fields."""
        fields = frame.fields
        try:
            self._in.follow(fields.get("size", 0))
            for key in fields.get("drop", ()):
                self._weights.pop(key, None)
            layout = Layout()
            described = layout.describe(self._words[fields["word"]](frame))
            layout.copy_to(self._out)
        except CocoiError as error:
            return {"error": error.code, "details": error.details, "message": error.message}
        except Exception as error:  # told to the parent, who raises it there
            return {"fault": type(error).__name__, "message": str(error)}
        return {"value": described, "size": layout.size}

    def _keep_stage(self, frame: Frame) -> None:
        f = frame.fields
        self._stages[f["key"]] = LocalStage(
            f["name"], tuple(f["inputs"]), tuple(f["outputs"]), frame.tail, tuple(f["layers"]), f["operators"]
        )

    def _keep_graph(self, frame: Frame) -> None:
        self._graphs[frame.fields["key"]] = frame.tail

    def _open(self, frame: Frame) -> None:
        self._kernels.open_stage(self._stages[frame.fields["key"]])

    def _forget_stage(self, frame: Frame) -> None:
        for key in frame.fields["keys"]:
            self._kernels.forget_stage(self._stages.pop(key))

    def _forget(self, _: Frame) -> None:
        self._stages.clear()
        self._graphs.clear()
        self._weights.clear()
        self._kernels.forget_stages()

    def _run_stage(self, frame: Frame) -> object:
        return self._kernels.run_stage(self._stages[frame.fields["key"]], self._seen(frame.fields["feeds"]))

    def _run_program(self, frame: Frame) -> object:
        f = frame.fields
        for key, described in f["new"]:
            self._weights[key] = restore(described, self._in, copy=True)
        weights = {name: self._weights[key] for name, key in f["weights"].items()}
        return self._kernels.run_program(self._graphs[f["key"]], self._seen(f["feeds"]), f["outputs"], weights)

    def _baseline(self, frame: Frame) -> object:
        f = frame.fields
        outputs = tuple(TensorInfo(name, "", None) for name in f["outputs"])
        model = LoadedModel(Path(f["path"]), f["name"], f["sha256"], None, (), outputs, {}, 0)
        baseline = self._kernels.baseline(model, self._seen(f["feeds"]), repeat=f["repeat"])
        return {"outputs": dict(baseline.outputs), "seconds": baseline.seconds}

    def _seen(self, feeds: Described) -> dict[str, AnyArray]:
        found: dict[str, AnyArray] = restore(feeds, self._in, copy=False)
        return found


def main() -> None:
    """Serve until the parent ends."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--regions", type=int, nargs=2, required=True)
    options = parser.parse_args()
    # Whatever a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    incoming, outgoing = (Region(descriptor) for descriptor in options.regions)
    child = Child(HostKernels(options.threads), incoming, outgoing)
    requests: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    write_frame(answers, {"ready": True})
    while True:
        write_frame(answers, child.answer(requests.get()))


def _read(requests: queue.SimpleQueue[Frame]) -> None:
    """Pass requests on until the parent closes the pipe; then end at once, whatever is being computed."""
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        requests.put(frame)
    os._exit(0)


if __name__ == "__main__":
    main()
