"""How fast a device computes, casts, copies and encrypts, one thread each, within a budget of seconds.

Runs in a Python that has numpy and ONNX Runtime. The request:

- `budget_s`, `rounds`: seconds in all, give or take one repetition; how often to go over everything;
- `cells`: convolutions as `[kernel, in_channels, out_channels, width, rows]`, rows and width of the output;
- `models`: names and sizes of the ONNX models in the payload, in its order: `conv-K` for each kernel
  size K (inputs `x`, `w`), `to-float16` and `to-float32` (input `x`);
- `certificate`, `key`: PEM texts, made for this measurement only.

Every duration is handed back; nothing is averaged here. Theory of operation: a warm-up of a
second brings the clock of an `ondemand` governor up and shows how fast the device is; a cell
then gets an equal share of the time that is left, small cells first, and those that would
take far more than their share are left out.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.ondevice import encryption, hardware
from cocoi_cli.fleet.ondevice.common import Failure, progress
from cocoi_cli.fleet.ondevice.reading import Root

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

WARM_UP_S = 1.0
CONVOLUTIONS_PART = 0.7  # of the budget; the rest is shared by casts, copies and ciphers
MOST_RUNS = 12  # of one cell in one round: more would only favour the small ones
PASS_FLOATS = 64 * 112 * 112  # an activation of VGG16, 3.2 MB of float32
SILENT = 4


def main(request: dict[str, Any], payload: BinaryIO) -> dict[str, Any]:
    """Measure; see the module.

    Raises:
        Failure: `no-runtime`, if this Python lacks numpy or ONNX Runtime or they do not work here.
    """
    started = time.monotonic()
    models = {name: payload.read(size) for name, size in request["models"]}
    try:
        kernels = Kernels(models, [Cell(*numbers) for numbers in request["cells"]])
    except Exception as error:  # whatever a broken runtime raises
        raise Failure("no-runtime", f"ONNX Runtime does not work here: {error}") from error
    rate = kernels.warm_up(WARM_UP_S)
    budget, rounds = float(request["budget_s"]), int(request["rounds"])
    deadline = max(started + budget, time.monotonic() + budget / 2)  # a slow start must not cost every sample
    conditions, root = [], Root()
    ciphers = encryption.ciphers(request["certificate"], request["key"])
    passes = kernels.passes()
    for number in range(rounds):
        progress(f"compute, round {number + 1} of {rounds}")
        until = _share(deadline, rounds - number)
        kernels.convolve(rate, time.monotonic() + CONVOLUTIONS_PART * (until - time.monotonic()))
        conditions.append(hardware.condition(root))
        jobs = [*passes, *ciphers]  # type: list[Any]
        for index, job in enumerate(jobs):
            job.repeat(_share(until, len(jobs) - index))
    return {
        "runtime": kernels.version,
        "convolutions": [{"cell": cell.numbers, "seconds": cell.seconds} for cell in kernels.cells if cell.seconds],
        "skipped": sum(not cell.seconds for cell in kernels.cells),
        "passes": {job.name: {"size": job.size, "seconds": job.seconds} for job in passes},
        "tls": {name: row for cipher in ciphers for name, row in cipher.rows().items()},
        "conditions": conditions,
        "seconds": time.monotonic() - started,
    }


class Cell:
    """Strips of one convolution, and what each repetition took."""

    def __init__(self, kernel: int, in_channels: int, out_channels: int, width: int, rows: int) -> None:
        self.numbers = [kernel, in_channels, out_channels, width, rows]
        self.model = f"conv-{kernel}"
        self.x = (1, in_channels, rows + kernel - 1, width)  # no padding on the cut axis: the rows bring their halo
        self.w = (out_channels, in_channels, kernel, kernel)
        self.flops = 2 * rows * width * in_channels * out_channels * kernel * kernel
        self.seconds: list[float] = []


class Job:
    """Something to repeat that is no convolution."""

    def __init__(self, name: str, size: int, once: Callable[[], object]) -> None:
        self.name, self.size, self.seconds = name, size, []  # type: str, int, list[float]
        self._once = once

    def repeat(self, until: float) -> None:
        """Run at least once, unless the time is over, and until it is or there are enough samples."""
        self._once()
        _repeat(self._once, self.seconds, until)


class Kernels:
    """ONNX Runtime as the agent uses it: one thread that does not spin, weights fed as an input."""

    def __init__(self, models: dict[str, bytes], cells: list[Cell]) -> None:
        # Unless told so, ONNX Runtime reports home and leaves files in the home folder and in /tmp.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import numpy  # noqa: PLC0415  (absent from a device's own Python)
        import onnxruntime  # noqa: PLC0415

        self._numpy = numpy
        self.version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = SILENT
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CPUExecutionProvider"]
        self._sessions = {
            name: onnxruntime.InferenceSession(model, options, providers=providers) for name, model in models.items()
        }
        self.cells = sorted(cells, key=lambda cell: cell.flops)
        largest = max([_count(shape) for cell in cells for shape in (cell.x, cell.w)] + [PASS_FLOATS])
        # One array behind all tensors: what is in them does not matter, that they are no denormals does.
        self._values = numpy.random.default_rng(0).standard_normal(largest, dtype=numpy.float32)

    def warm_up(self, seconds: float) -> float:
        """Compute for so long; operations per second at the end."""
        cell, spent = self.cells[0], []  # type: Cell, list[float]
        once = self._once(cell)
        once()
        until = time.monotonic() + seconds
        while not spent or time.monotonic() < until:
            started = time.perf_counter()
            once()
            spent.append(time.perf_counter() - started)
        late = sorted(spent[len(spent) // 2 :])
        return cell.flops / late[len(late) // 2]

    def convolve(self, rate: float, until: float) -> None:
        """One round over the cells that fit into the time."""
        for index, cell in enumerate(self.cells):
            share = _share(until, len(self.cells) - index)
            # Two repetitions, the first untimed; those before may have left some of their shares.
            if 2 * cell.flops / rate <= 3 * max(share - time.monotonic(), 0.0):
                once = self._once(cell)
                once()
                _repeat(once, cell.seconds, share)

    def passes(self) -> list[Job]:
        """Casts and a copy of one activation; sizes in bytes of float32."""
        source = self._values[:PASS_FLOATS]
        half, target = source.astype(self._numpy.float16), self._numpy.empty_like(source)
        narrow, wide = self._sessions["to-float16"], self._sessions["to-float32"]
        return [
            Job("to-float16", source.nbytes, lambda: narrow.run(None, {"x": source})),
            Job("to-float32", source.nbytes, lambda: wide.run(None, {"x": half})),
            Job("copy", source.nbytes, lambda: self._numpy.copyto(target, source)),
        ]

    def _once(self, cell: Cell) -> Callable[[], object]:
        session, feeds = self._sessions[cell.model], {"x": self._view(cell.x), "w": self._view(cell.w)}
        return lambda: session.run(None, feeds)

    def _view(self, shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - an array
        return self._values[: _count(shape)].reshape(shape)


def _share(until: float, parts: int) -> float:
    """When the first of so many equal parts of the time that is left is over."""
    now = time.monotonic()
    return now + max(until - now, 0.0) / parts


def _repeat(once: Callable[[], object], seconds: list[float], until: float) -> None:
    for _ in range(MOST_RUNS):
        started = time.perf_counter()
        once()
        seconds.append(round(time.perf_counter() - started, 9))
        if time.monotonic() >= until:
            break


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
