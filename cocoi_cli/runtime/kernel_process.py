"""The host's kernels in a process of their own, so that it can be given its own share of the machine.

A laboratory that emulates devices gives the host's convolutions a device's speed by a quota on this process,
while sockets and Python of the host run free. Only what holds convolutions is sent over; arrays travel
through shared memory, weights and graphs once. The child holds a pipe of this process and ends with
it, like the agents of an embedded fleet.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import cocoi_agent
import cocoi_cli
from cocoi_cli.errors import CocoiError, FailedError
from cocoi_cli.model.onnxruntime_session import RefusedModelError
from cocoi_cli.runtime.host import (
    NO_WEIGHTS,
    Baseline,
    HostKernels,
    LocalStageError,
    ModelRunError,
    ProgramError,
    slice_of,
)
from cocoi_cli.runtime.kernel_child import read_frame, write_frame
from cocoi_cli.runtime.shared_arrays import Described, Layout, Region, restore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from cocoi_cli.model.network import ConvSpec, LoadedModel, LocalStage
    from cocoi_cli.runtime.report import AnyArray

MODULE: Final = "cocoi_cli.runtime.kernel_child"
_ERRORS: Final[Mapping[str, type[CocoiError]]] = {
    error.code: error for error in (LocalStageError, ModelRunError, ProgramError, RefusedModelError)
}


class KernelsLostError(FailedError):
    """The process with the host's kernels has ended."""

    code: ClassVar[str] = "kernels-lost"

    def __init__(self, how: str, output: str = "") -> None:
        tail = f": {output.strip().splitlines()[-1]}" if output.strip() else ""
        super().__init__(
            f"the process that computes for the host ended: {how}{tail}", how=how, output=output.strip()[-2000:]
        )


class KernelProcess:
    """Kernels in a child process; see `Kernels` for the methods. One request is answered at a time."""

    def __init__(self, threads: int | None = None) -> None:
        """Start the child; it needs a second to come up, for which the first request waits.

        Args:
            threads: As for `HostKernels`, in the child and for what is computed in this process.
        """
        self._here = HostKernels(threads)
        self._lock = threading.Lock()
        self._closed = False
        self._ready = False
        self._out, self._in = Region.make(), Region.make()
        self._log = tempfile.TemporaryFile(prefix="cocoi-")  # noqa: SIM115 - closed in `close`
        self._keys: dict[bytes | tuple[str, bytes], int] = {}  # of graphs and stages that the child holds
        self._weights: dict[int, tuple[weakref.ref[AnyArray], int]] = {}  # by `id`
        self._gone: list[int] = []  # weights that nobody here has any more
        self._last_key = 0
        regions = (self._out.descriptor, self._in.descriptor)
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [
                *(sys.executable, "-P", "-m", MODULE, "--regions", *map(str, regions)),
                *(() if threads is None else ("--threads", str(threads))),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            pass_fds=regions,
            start_new_session=True,
            env=_environment(),
        )

    @property
    def pid(self) -> int:
        """Of the child, from the first moment on."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until the child can compute.

        Raises:
            KernelsLostError: If it ends instead.
        """
        with self._lock:
            self._wait_ready()

    def close(self) -> None:
        """End the child, in the middle of a computation too; idempotent."""
        self._closed = True
        if self._process.poll() is None:
            self._process.kill()  # it holds nothing that would need an orderly end
        self._process.wait()
        with self._lock:  # whoever waited for an answer has seen the end of it by now
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None and not pipe.closed:
                    _close(pipe)
            self._log.close()
            self._out.close()
            self._in.close()

    def __enter__(self) -> KernelProcess:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # --- what kernels do -------------------------------------------------------------

    def open_stage(self, stage: LocalStage) -> None:
        """Open the session of a local stage before time counts."""
        if not stage.layers:
            self._here.open_stage(stage)
            return
        with self._lock:
            self._ask({"word": "open", "key": self._stage_key(stage)})

    def forget_stage(self, stage: LocalStage) -> None:
        """Let go of the session of a local stage, if it is open."""
        if not stage.layers:
            self._here.forget_stage(stage)
            return
        with self._lock:
            known = [each for each in self._keys if isinstance(each, tuple) and each[1] == stage.model]
            if known:
                self._ask({"word": "forget-stage", "keys": [self._keys.pop(each) for each in known]})

    def forget_stages(self) -> None:
        """Let go of what belongs to one model."""
        self._here.forget_stages()
        with self._lock:
            self._keys.clear()
            self._weights.clear()
            if self._ready:
                self._ask({"word": "forget"})

    def run_stage(self, stage: LocalStage, tensors: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run a local stage: in this process unless it holds convolutions.

        Raises:
            LocalStageError: If ONNX Runtime fails.
            KernelsLostError: If the child has ended.
        """
        if not stage.layers:
            return self._here.run_stage(stage, tensors)
        feeds = {name: tensors[name] for name in stage.inputs if name in tensors}
        with self._lock:
            found: dict[str, AnyArray] = self._ask({"word": "run-stage", "key": self._stage_key(stage)}, feeds)
            return found

    def convolve(self, spec: ConvSpec, axis: int, x: NDArray[np.float32], weight: NDArray[np.float32]) -> AnyArray:
        """What an agent would answer to the share `x`, in float32."""
        return self.run_program(slice_of(spec, axis), {"x": x}, ["y32"], {"w": weight})[0]

    def run_program(
        self,
        graph: bytes,
        feeds: Mapping[str, AnyArray],
        outputs: Sequence[str],
        weights: Mapping[str, AnyArray] = NO_WEIGHTS,
    ) -> list[AnyArray]:
        """Run an agent's program.

        Raises:
            RefusedModelError, ProgramError: As for `Kernels`.
            KernelsLostError: If the child has ended.
        """
        with self._lock:
            layout = Layout()
            new: list[tuple[int, Described]] = []
            request = {
                "word": "run-program",
                "key": self._graph_key(graph),
                "outputs": list(outputs),
                "weights": {name: self._weight_key(array, layout, new) for name, array in weights.items()},
                "new": new,
            }
            try:
                found: list[AnyArray] = self._ask(request, dict(feeds), layout)
            except Exception:  # whether it took the weights is unknown: they are sent anew under other numbers
                self._gone += [key for key, _ in new]
                for array in weights.values():
                    self._weights.pop(id(array), None)
                raise
            return found

    def baseline(self, model: LoadedModel, tensors: Mapping[str, AnyArray], *, repeat: bool = True) -> Baseline:
        """Run the unmodified model and time it there.

        Raises:
            ModelRunError, RefusedModelError: As for `Kernels`.
            KernelsLostError: If the child has ended.
        """
        request = {
            "word": "baseline",
            "path": str(Path(model.path).resolve()),
            "name": model.name,
            "sha256": model.sha256,
            "outputs": [info.name for info in model.outputs],
            "repeat": repeat,
        }
        with self._lock:
            found = self._ask(request, dict(tensors))
        return Baseline(found["outputs"], found["seconds"])

    # --- what the child holds ----------------------------------------------------------

    def _stage_key(self, stage: LocalStage) -> int:
        key = self._keys.get((stage.name, stage.model))
        if key is None:
            key = self._new_key()
            about = {"name": stage.name, "inputs": stage.inputs, "outputs": stage.outputs}
            more = {"layers": stage.layers, "operators": stage.operators}
            self._ask({"word": "stage", "key": key, **about, **more}, tail=stage.model)
            self._keys[stage.name, stage.model] = key
        return key

    def _graph_key(self, graph: bytes) -> int:
        key = self._keys.get(graph)
        if key is None:
            key = self._new_key()
            self._ask({"word": "graph", "key": key}, tail=graph)
            self._keys[graph] = key
        return key

    def _weight_key(self, array: AnyArray, layout: Layout, new: list[tuple[int, Described]]) -> int:
        """The number under which the child has an array; one that it has not is added to the request."""
        known = self._weights.get(id(array))
        if known is not None and known[0]() is array:
            return known[1]
        place, key, weights, gone = id(array), self._new_key(), self._weights, self._gone

        def forget(_: object) -> None:
            gone.append(key)
            if place in weights and weights[place][1] == key:
                del weights[place]

        new.append((key, layout.describe(array)))
        weights[place] = (weakref.ref(array, forget), key)
        return key

    def _new_key(self) -> int:
        self._last_key += 1
        return self._last_key

    # --- requests ----------------------------------------------------------------------

    def _ask(
        self,
        request: dict[str, Any],
        feeds: dict[str, AnyArray] | None = None,
        layout: Layout | None = None,
        tail: bytes = b"",
    ) -> Any:  # noqa: ANN401 - as the request has it
        """Send a request and wait for its answer; the lock is held."""
        self._wait_ready()
        layout = layout or Layout()
        described = layout.describe(feeds or {})
        layout.copy_to(self._out)
        drop = [self._gone.pop() for _ in range(len(self._gone))]
        answer = self._exchange({**request, "feeds": described, "size": layout.size, "drop": drop}, tail)
        if "value" in answer:
            self._in.follow(answer["size"])
            return restore(answer["value"], self._in, copy=True)
        raise _error_of(answer)

    def _exchange(self, request: dict[str, Any] | None, tail: bytes = b"") -> dict[str, Any]:
        process = self._process
        if self._closed or process.stdin is None or process.stdout is None:
            raise KernelsLostError("it was closed")
        try:
            if request is not None:
                write_frame(process.stdin, request, tail)
            frame = read_frame(process.stdout)
        except OSError:
            frame = None
        except BaseException:  # Ctrl-C: the next request must not be given this one's answer
            process.kill()
            raise
        if frame is None:
            raise self._loss()
        return frame.fields

    def _wait_ready(self) -> None:
        if not self._ready:
            self._exchange(None)
            self._ready = True

    def _loss(self) -> KernelsLostError:
        if self._closed:
            return KernelsLostError("it was closed")
        self._process.kill()  # a child without pipes is of no use
        status = self._process.wait()
        self._log.seek(0)
        output = self._log.read().decode(errors="replace")
        return KernelsLostError(_words_of(status), output if status > 0 else "")


def _error_of(answer: dict[str, Any]) -> Exception:
    """The exception that the child met, as this process would have met it."""
    kind = _ERRORS.get(answer.get("error", ""))
    if kind is not None:
        return kind(**answer["details"])
    if answer.get("fault") == "MemoryError":
        return MemoryError(answer["message"])
    return RuntimeError(f"{answer.get('fault') or answer.get('error')}: {answer['message']}")


def _words_of(status: int) -> str:
    """How a process ended."""
    if status >= 0:
        return f"status {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"


def _close(pipe: Any) -> None:  # noqa: ANN401 - either end
    """Close a pipe whose other end may be gone with bytes still in the buffer."""
    try:
        pipe.close()
    except OSError:
        return


def _environment() -> dict[str, str]:
    """The host's environment, with both packages found where the host found them."""
    homes = [str(Path(package.__path__[0]).parent) for package in (cocoi_cli, cocoi_agent)]
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*dict.fromkeys(homes), *([path] if path else [])])}
