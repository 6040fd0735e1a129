"""The networks of `models/build.py`, prepared at small sizes, and their tensors as plain ONNX Runtime has them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from cocoi_cli.model.graph import sub_model
from cocoi_cli.model.load import load_model
from cocoi_cli.model.onnxruntime_session import open_session
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.stages import find_layers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from cocoi_cli.model.layers import Prepared

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "models"


def script() -> ModuleType:
    """`models/build.py`, which is in no package."""
    bare = "cocoi_models_build"
    if bare not in sys.modules:
        spec = importlib.util.spec_from_file_location(bare, SCRIPTS / "build.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[bare] = module
        sys.path.insert(0, str(SCRIPTS))
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(SCRIPTS))
    return sys.modules[bare]


def prepare_built(folder: Path, name: str, size: int) -> Prepared:
    """Build a network, write it into a folder, load and measure it."""
    path = folder / f"{name}_{size}.onnx"
    path.write_bytes(script().build(name, size, headless=name == "vgg16").SerializeToString())
    model = load_model(path)
    return find_layers(model, resolve_input_shapes(model, {"image": (1, 3, size, size)}))


def tensors_of(prepared: Prepared, inputs: dict[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Some tensors of the graph, computed in one run of ONNX Runtime."""
    wanted = [name for name in dict.fromkeys(names) if name not in inputs]
    given = [onnx.ValueInfoProto(name=name, type=prepared.types[name]) for name in inputs]
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    model = sub_model(prepared.graph, prepared.graph.nodes, given, outputs)
    results = open_session(model.SerializeToString()).run(wanted, inputs)
    return {**inputs, **dict(zip(wanted, results, strict=True))}
