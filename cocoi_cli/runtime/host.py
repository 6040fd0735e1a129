"""What the host computes itself: local stages, shares that are its own or that no agent will do, and the baseline.

`Kernels` is what the rest of the host needs of it. `HostKernels` computes in this process, `KernelProcess`
(`kernel_process.py`) in a child. Sessions are opened once and kept. Nothing here is asynchronous; any
thread may call, and callers that must stay responsive use one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from cocoi_cli.errors import FailedError, ModelError, UsageError
from cocoi_cli.model.onnxruntime_session import open_session, refusal
from cocoi_cli.model.slices import slice_program
from cocoi_cli.runtime.outputs import arrays_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import onnxruntime as ort
    from numpy.typing import NDArray

    from cocoi_cli.model.network import ConvSpec, LoadedModel, LocalStage
    from cocoi_cli.runtime.report import AnyArray

ENOUGH_S = 0.5  # a baseline that takes longer is not repeated once it is warm: its own noise is small against it
BASELINE_RUNS = 3
NO_WEIGHTS: Final[Mapping[str, AnyArray]] = MappingProxyType({})


class LocalStageError(FailedError):
    """ONNX Runtime failed in the middle of the network."""

    code = "stage-failed"

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"stage `{stage}` failed on the host: {reason}", stage=stage, reason=reason)


class ProgramError(FailedError):
    """ONNX Runtime failed to run an agent's program on the host."""

    code = "program-failed"

    def __init__(self, reason: str) -> None:
        super().__init__(f"a program of the network failed on the host: {reason}", reason=reason)


class ModelRunError(ModelError):
    """ONNX Runtime loads the model and then fails to run it on this input."""

    code = "model-failed"

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(f"model `{model}` fails in ONNX Runtime on this input: {reason}", model=model, reason=reason)


@dataclass(frozen=True, slots=True)
class Baseline:
    """Plain ONNX Runtime on the unmodified model: what every result is held against.

    Attributes:
        outputs: By ONNX name; see `arrays_of`.
        seconds: Best of the runs made after the first.
    """

    outputs: Mapping[str, AnyArray]
    seconds: float


class Kernels(Protocol):
    """What computes for the host; every call blocks until the result is there, and any thread may make it."""

    def open_stage(self, stage: LocalStage) -> None:
        """Open the session of a local stage before time counts."""

    def forget_stage(self, stage: LocalStage) -> None:
        """Let go of the session of a local stage that no plan has any more, if it is open."""

    def forget_stages(self) -> None:
        """Let go of what belongs to one model: another is coming, and weights may be large."""

    def run_stage(self, stage: LocalStage, tensors: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run a local stage.

        Args:
            stage: What to run.
            tensors: At least its inputs by name; borrowed.

        Raises:
            LocalStageError: If ONNX Runtime fails.
        """
        ...

    def convolve(self, spec: ConvSpec, axis: int, x: NDArray[np.float32], weight: NDArray[np.float32]) -> AnyArray:
        """What an agent would answer to the share `x`, in float32: no bias, no padding on `axis`.

        `x` is borrowed; `weight` is never written as long as it lives.
        """
        ...

    def run_program(
        self,
        graph: bytes,
        feeds: Mapping[str, AnyArray],
        outputs: Sequence[str],
        weights: Mapping[str, AnyArray] = NO_WEIGHTS,
    ) -> list[AnyArray]:
        """Run an agent's program.

        Args:
            graph: The ONNX program; its session is kept.
            feeds: Inputs that differ from run to run, by name; borrowed.
            outputs: Names of the outputs to give.
            weights: Inputs that never change, by name: the same arrays at every run, never written.

        Returns:
            One array per name in `outputs`.

        Raises:
            RefusedModelError: If ONNX Runtime refuses the graph.
            ProgramError: If it fails on these inputs.
        """
        ...

    def baseline(self, model: LoadedModel, tensors: Mapping[str, AnyArray], *, repeat: bool = True) -> Baseline:
        """Run the unmodified model and time it.

        Args:
            model: The model as loaded.
            tensors: Its inputs by name.
            repeat: Whether to run again until the time means something.

        Raises:
            ModelRunError: If ONNX Runtime fails on these inputs.
        """
        ...

    def close(self) -> None:
        """Let go of everything; nothing may be called afterwards. Idempotent."""


class HostKernels:
    """ONNX Runtime sessions in this process, opened on first use; see `Kernels` for the methods."""

    def __init__(self, threads: int | None = None) -> None:
        """Use `threads` inside an operator, or as many as ONNX Runtime likes."""
        self._threads = threads
        self._local: dict[bytes, ort.InferenceSession] = {}
        self._programs: dict[bytes, ort.InferenceSession] = {}
        self._whole: tuple[str, ort.InferenceSession] | None = None

    def open_stage(self, stage: LocalStage) -> None:
        """Open the session of a local stage before time counts."""
        self._stage_session(stage)

    def forget_stage(self, stage: LocalStage) -> None:
        """Let go of the session of a local stage, if it is open."""
        self._local.pop(stage.model, None)

    def forget_stages(self) -> None:
        """Let go of the sessions of local stages and programs."""
        self._local.clear()
        self._programs.clear()

    def run_stage(self, stage: LocalStage, tensors: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run a local stage.

        Raises:
            LocalStageError: If ONNX Runtime fails.
        """
        session = self._stage_session(stage)
        try:
            results = session.run(list(stage.outputs), {name: tensors[name] for name in stage.inputs})
        except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
            raise LocalStageError(stage.name, refusal(error)) from error
        return dict(zip(stage.outputs, results, strict=True))

    def convolve(self, spec: ConvSpec, axis: int, x: NDArray[np.float32], weight: NDArray[np.float32]) -> AnyArray:
        """What an agent would answer to the share `x`, in float32: no bias, no padding on `axis`."""
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
            RefusedModelError: If ONNX Runtime refuses the graph.
            ProgramError: If it fails on these inputs.
        """
        session = self._programs.get(graph)
        if session is None:
            session = self._programs.setdefault(graph, open_session(graph, threads=self._threads))
        try:
            results: list[AnyArray] = session.run(list(outputs), {**weights, **feeds})
        except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
            raise ProgramError(refusal(error)) from error
        return results

    def baseline(self, model: LoadedModel, tensors: Mapping[str, AnyArray], *, repeat: bool = True) -> Baseline:
        """Run the unmodified model and time it.

        Args:
            model: The model as loaded.
            tensors: Its inputs by name.
            repeat: Whether to run again until the time means something.

        Raises:
            ModelRunError: If ONNX Runtime fails on these inputs.
        """
        names = [info.name for info in model.outputs]
        try:
            before = self._whole
            session = self._whole_session(model)
            is_cold = self._whole is not before
            started = time.perf_counter()
            results = session.run(names, dict(tensors))
            best = first = time.perf_counter() - started
            # A first run pays for pages and caches (14.7 s where 8.5 is usual), and plans are made by this figure.
            further = BASELINE_RUNS if first < ENOUGH_S else int(is_cold)
            for index in range(further if repeat else 0):
                started = time.perf_counter()
                session.run(names, dict(tensors))
                elapsed = time.perf_counter() - started
                best = elapsed if index == 0 else min(best, elapsed)
        except (ModelError, UsageError):
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
            raise ModelRunError(model.name, refusal(error)) from error
        return Baseline(arrays_of(dict(zip(names, results, strict=True))), best)

    def close(self) -> None:
        """Let go of every session."""
        self.forget_stages()
        self._whole = None

    def _stage_session(self, stage: LocalStage) -> ort.InferenceSession:
        # Python keeps the hash of a `bytes` object; a digest would read half a gigabyte of VGG16 at every inference.
        session = self._local.get(stage.model)
        if session is None:
            session = self._local.setdefault(stage.model, open_session(stage.model, threads=self._threads))
        return session

    def _whole_session(self, model: LoadedModel) -> ort.InferenceSession:
        if self._whole is None or self._whole[0] != model.sha256:
            self._whole = (model.sha256, open_session(model.path, threads=self._threads))
        return self._whole[1]


@lru_cache(maxsize=512)
def slice_of(spec: ConvSpec, axis: int) -> bytes:
    """The program of a convolution slice in float32: one object per geometry, so that sessions are found by it."""
    return slice_program(spec, axis, "f32")
