"""What agents must hold for a network: programs and the tensors bound to them, by hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cocoi_agent.wire.messages import Binding
from cocoi_agent.wire.programs import program_id
from cocoi_agent.wire.tensors import bytes_of
from cocoi_cli.codes.registry import make_code
from cocoi_cli.model.network import ConvStage, FusedStage
from cocoi_cli.model.slices import slice_program
from cocoi_cli.planning.defaults import gain_limit
from cocoi_cli.runtime.link import Program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cocoi_cli.codes.code import Code
    from cocoi_cli.model.network import Network
    from cocoi_cli.planning.plan import ConvPlan, Plan


@dataclass(frozen=True, slots=True)
class ProgramSource:
    """One program of a stage before it is hashed.

    Attributes:
        graph: Serialised ONNX model.
        tensors: By name of the graph's input: what is bound to it.
        home: The share whose holder alone needs it; None where every agent does.
        linear: Whether the result is linear in the share, so that a scale passes through.
        built_in: Whether the tensors become part of the agent's session instead of being fed to it: quicker where
            ONNX Runtime lays weights out anew (a quarter to a third on x86, docs/methods.md), at one copy per program.
    """

    graph: bytes = field(repr=False)
    tensors: Mapping[str, NDArray[np.float32]] = field(repr=False)
    home: int | None = None
    linear: bool = True
    built_in: bool = False


@dataclass(frozen=True, slots=True)
class Loading:
    """What agents must hold for a network.

    Attributes:
        stages: Stage name to the ids of its programs, in the order of their variants.
        programs: Every program once, with the homes that alone need it, or None.
        blobs: Every blob the programs name, by SHA-256.
    """

    stages: Mapping[str, tuple[str, ...]]
    programs: tuple[tuple[Program, frozenset[int] | None], ...]
    blobs: Mapping[str, bytes | memoryview]

    def at(self, home: int) -> tuple[Program, ...]:
        """The programs of the agent at which share `home` is at home."""
        return tuple(program for program, only in self.programs if only is None or home in only)


def code_of(plan: ConvPlan) -> Code:
    """The code that a plan asks for."""
    limit = gain_limit(plan.transport)
    return make_code(plan.scheme, plan.n, plan.k, gain_limit=limit, filters=plan.filters)


def stage_programs(stage: ConvStage | FusedStage, plan: ConvPlan | None) -> tuple[ProgramSource, ...]:
    """The programs of a distributed stage, in the order of their variants.

    Args:
        stage: What agents compute.
        plan: Of a conv stage.
    """
    if isinstance(stage, FusedStage):
        return tuple(ProgramSource(graph, stage.weights, linear=False, built_in=True) for graph in stage.programs)
    assert plan is not None  # noqa: S101 - conv stages are made from plans
    graph, code = slice_program(stage.spec, plan.axis, plan.transport), code_of(plan)
    if code.movable:
        return (ProgramSource(graph, {"w": np.ascontiguousarray(stage.weight)}),)
    shares = range(code.shares or 0)
    return tuple(ProgramSource(graph, {"w": code.encode_filters(stage.weight, i)}, home=i) for i in shares)


def loading_of(network: Network, plan: Plan) -> Loading:
    """The programs and blobs that agents need for the distributed stages of a network."""
    plans = {layer.layer: layer for layer in plan.layers}
    stages: dict[str, tuple[str, ...]] = {}
    programs: dict[str, tuple[Program, frozenset[int] | None]] = {}
    blobs = _Blobs()
    for stage in network.stages:
        if not isinstance(stage, ConvStage | FusedStage):
            continue
        ids = []
        for source in stage_programs(stage, plans.get(stage.name)):
            graph, how = blobs.add(source.graph), "initializer" if source.built_in else "input"
            bindings = tuple(
                Binding(name, blobs.add(bytes_of(np.ascontiguousarray(array))), "f32", array.shape, how)
                for name, array in sorted(source.tensors.items())
            )
            found = program_id(graph, bindings, linear=source.linear)
            homes = None if source.home is None else frozenset({source.home})
            known = programs.get(found)
            if known is not None:  # the same weights for another share, or another layer
                homes = None if homes is None or known[1] is None else homes | known[1]
            programs[found] = (Program(found, graph, bindings, source.linear), homes)
            ids.append(found)
        stages[stage.name] = tuple(ids)
    return Loading(stages, tuple(programs.values()), blobs.by_hash)


class _Blobs:
    """Blobs by their hash; equal arrays of one stage are hashed once."""

    def __init__(self) -> None:
        self.by_hash: dict[str, bytes | memoryview] = {}

    def add(self, data: bytes | memoryview) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.by_hash[digest] = data
        return digest
