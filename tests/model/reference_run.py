"""Running a network in this process, one stage after the other: the slow twin of a fleet."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort

from cocoi_cli.model.cutting import cut_strip, join_piece
from cocoi_cli.model.finish import Finish
from cocoi_cli.model.geometry import Split, split_rows
from cocoi_cli.model.network import ConvStage, FusedStage, LocalStage, Network
from cocoi_cli.model.onnxruntime_session import open_session
from cocoi_cli.model.slices import slice_program

_programs: dict[bytes, ort.InferenceSession] = {}


def run_network(
    network: Network, inputs: dict[str, np.ndarray], *, pieces: int = 1, strips: int = 1, axis: int = 2
) -> dict[str, np.ndarray]:
    """Every graph output by name; conv stages are cut into pieces and strips, uncoded, in float32."""
    tensors = dict(inputs)
    outputs = {item.name for item in network.model.outputs}
    for index, stage in enumerate(network.stages):
        if isinstance(stage, LocalStage):
            session = open_session(stage.model)
            assert tuple(item.name for item in session.get_inputs()) == stage.inputs
            results = session.run(list(stage.outputs), {name: tensors[name] for name in stage.inputs})
            tensors.update(zip(stage.outputs, results, strict=True))
        elif isinstance(stage, FusedStage):
            tensors[stage.output] = run_fused(stage, tensors[stage.input])
        else:
            sums = conv_sums(stage, tensors[stage.input], pieces=pieces, strips=strips, axis=axis)
            tensors[stage.output] = finished(sums, stage.finish)
        for name in [name for name, last in network.last_use.items() if last == index]:
            del tensors[name]
    assert set(tensors) - set(inputs) <= outputs, "a tensor outlives its last reader"
    return {name: tensors[name] for name in outputs}


def conv_sums(stage: ConvStage, x: np.ndarray, *, pieces: int, strips: int, axis: int) -> np.ndarray:
    """The raw sums of a conv stage through the agents' program."""
    assert x.shape == stage.input_shape
    split = split_rows(stage.spec, axis, x.shape[axis], pieces, 1)
    split = split_rows(stage.spec, axis, x.shape[axis], pieces, min(strips, split.piece_rows))
    program = slice_program(stage.spec, axis, "f32")
    if program not in _programs:
        _programs[program] = open_session(program)
    out = np.empty(stage.output_shape, stage.dtype)
    out.fill(np.nan)
    for strip in range(len(split.strips)):
        results = [
            _programs[program].run(["y32"], {"x": piece, "w": stage.weight})[0]
            for piece in cut_strip(x, split, strip, axis)
        ]
        join_strip(out, results, split, strip, axis)
    return out


def finished(sums: np.ndarray, finish: Finish) -> np.ndarray:
    """The slow twin of `Finish`: one channel after the other, one rule after the other."""
    out = np.array(sums)
    for channel in range(out.shape[1]) if finish.bias is not None else ():
        out[:, channel] = out[:, channel] + finish.bias[channel]
    if finish.activation is not None:
        out = np.where(out < 0, out * np.float32(finish.activation.slope), out)
        out = np.where(out < finish.activation.lowest, np.float32(finish.activation.lowest), out)
        out = np.where(out > finish.activation.highest, np.float32(finish.activation.highest), out)
    return out


def run_fused(stage: FusedStage, x: np.ndarray) -> np.ndarray:
    """A fused stage tile by tile through the agents' programs, in the type they take."""
    assert x.shape == stage.input_shape
    out = np.full(stage.output_shape, np.nan, stage.dtype)
    for tile in stage.tiles:
        program = stage.programs[tile.program]
        if program not in _programs:
            _programs[program] = open_session(program, threads=1)
        session = _programs[program]
        half = "float16" in session.get_inputs()[0].type
        rows = np.ascontiguousarray(x[:, :, tile.first : tile.last], np.float16 if half else np.float32)
        # As an agent does it: where float16 does not hold the answer, float32 is sent.
        answers = session.run(None, {"x": rows, **stage.weights})
        narrow = answers[0]
        out[:, :, tile.start : tile.stop] = narrow if np.isfinite(narrow).all() else answers[-1]
    return out


def join_strip(out: np.ndarray, pieces: Any, split: Split, strip: int, axis: int) -> None:
    """Write all pieces of one strip into the output."""
    for piece in range(split.pieces):
        join_piece(out, pieces[piece], split, piece, strip, axis)


def relative_difference(found: Any, reference: Any) -> float:
    """max |found - reference| / max |reference|; infinite where shape, type or a non-finite value differs."""
    found, reference = np.asarray(found), np.asarray(reference)
    if found.shape != reference.shape or found.dtype != reference.dtype:
        return float("inf")
    if not reference.size:
        return 0.0
    found, reference = found.astype(np.float64), reference.astype(np.float64)
    finite = np.isfinite(reference)
    if not np.array_equal(found[~finite], reference[~finite], equal_nan=True):
        return float("inf")
    found, reference = found[finite], reference[finite]
    largest = max(np.abs(reference).max(initial=0.0), np.finfo(np.float64).tiny)
    return float(np.abs(found - reference).max(initial=0.0) / largest)
