"""How far an answer is from plain ONNX Runtime, and how far it may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.runtime.report import CheckReport, float_output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.model.network import ConvLayer
    from cocoi_cli.runtime.report import AnyArray

TOLERANCES = {"f32": 1e-4, "f16": 1e-2}  # largest difference over largest value, by transport
FLOAT16_MODEL_TOLERANCE = 4e-3  # a float16 model rounds so much by itself, however its shares travel
INTEGER_TOLERANCE = 1e-3  # fraction of integer elements that may differ


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far answers may be from plain ONNX Runtime: largest difference over largest value.

    Attributes:
        transport: `f16` or `f32`, as it was asked for; decides where nothing is given.
        given: For every float output; None for what goes with the transport.
    """

    transport: str
    given: float | None = None

    def inside(self, *, half: bool = False) -> float:
        """For what float32 tensors inside a model may be off by; `half` where it computes in float16, see `is_half`."""
        if self.given is not None:
            return self.given
        return FLOAT16_MODEL_TOLERANCE if half else TOLERANCES[self.transport]

    def of(self, reference: AnyArray, *, half: bool = False) -> float:
        """What `difference` may be for an output like this."""
        if not float_output(reference):
            return INTEGER_TOLERANCE
        return self.inside(half=half or reference.dtype == np.float16)


def compare(
    outputs: Mapping[str, AnyArray],
    reference: Mapping[str, AnyArray],
    tolerance: Tolerance,
    *,
    half: bool = False,
) -> CheckReport:
    """Compare every output with the reference.

    Args:
        outputs: By ONNX name.
        reference: Of the unmodified model in plain ONNX Runtime.
        tolerance: What is allowed.
        half: Whether the model computes in float16 anywhere; see `is_half`.
    """
    per_output = {name: difference(outputs[name], reference[name]) for name in reference}
    allowed = {name: tolerance.of(reference[name], half=half) for name in reference}
    worst = max(per_output, key=lambda name: per_output[name] / allowed[name], default=None)
    return CheckReport(
        max_rel_error=max(per_output.values(), default=0.0),
        tolerance=allowed[worst] if worst is not None else tolerance.inside(half=half),
        top1_equal=_top1_equal(outputs, reference),
        passed=all(per_output[name] <= allowed[name] for name in reference),
        per_output=per_output,
    )


def difference(found: AnyArray, reference: AnyArray) -> float:
    """Largest |difference| over largest |reference|; for integers and strings the fraction that differs.

    Values that are not finite must be the same in both; otherwise the figure is infinite.
    """
    if found.shape != reference.shape or (found.dtype != reference.dtype and reference.dtype.kind != "U"):
        return float("inf")
    if reference.size == 0:
        return 0.0
    if not float_output(reference):
        return float(np.mean(found != reference))
    a, b = found.astype(np.float64), reference.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        return float("inf")
    if not finite.any():
        return 0.0
    gap, largest = float(np.max(np.abs(a[finite] - b[finite]))), float(np.max(np.abs(b[finite])))
    return gap / largest if largest > 0 else (0.0 if gap == 0 else float("inf"))


def is_half(layers: Sequence[ConvLayer]) -> bool:
    """Whether a model convolves in float16, whatever its inputs and outputs are."""
    return any(layer.dtype == "float16" for layer in layers)


def _top1_equal(outputs: Mapping[str, AnyArray], reference: Mapping[str, AnyArray]) -> bool | None:
    """Same largest class in every row of every classifier-like output; None without one."""
    verdicts = [
        bool(np.array_equal(_rows(outputs[name]).argmax(axis=1), _rows(array).argmax(axis=1)))
        for name, array in reference.items()
        if array.dtype.kind != "U"
        and array.ndim >= 2
        and array.shape[1] > 1
        and all(size == 1 for size in array.shape[2:])
        and array.size
    ]
    return all(verdicts) if verdicts else None


def _rows(array: AnyArray) -> AnyArray:
    return array.reshape(array.shape[0], -1)
