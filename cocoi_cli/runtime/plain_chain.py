"""The stages of a network run plainly, one after the other: nothing cut, mixed, cast or sent.

What a rehearsal compares with, and what it disturbs to see how far a network enlarges an error. All of it is
blocking; callers in an event loop use a thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from cocoi_cli.model.network import ConvStage, LocalStage
from cocoi_cli.runtime.outputs import arrays_of
from cocoi_cli.runtime.tile_work import compute_segment
from cocoi_cli.runtime.work import convolve_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cocoi_cli.model.network import FusedStage, Network
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.report import AnyArray

MOST_BYTES: Final = 1 << 30  # of inputs and outputs of distributed stages, kept while a plan is rehearsed


@dataclass(frozen=True, slots=True)
class Chain:
    """A plain run.

    Attributes:
        network: What was run.
        inputs: Of every distributed stage, by its name.
        results: Of every distributed stage, by its name: float32 `stage.output_shape`, raw sums of conv stages.
        outputs: Of the network; see `arrays_of`.
        before: By stage index: the tensors from which the network goes on there; empty unless asked for.
    """

    network: Network
    inputs: Mapping[str, AnyArray]
    results: Mapping[str, AnyArray]
    outputs: Mapping[str, AnyArray]
    before: Mapping[int, Mapping[str, AnyArray]]


def distributed(network: Network) -> list[ConvStage | FusedStage]:
    """The stages that agents compute, in order."""
    return [stage for stage in network.stages if not isinstance(stage, LocalStage)]


def is_small(network: Network) -> bool:
    """Whether everything that a chain keeps fits into `MOST_BYTES`."""
    shapes = [shape for stage in distributed(network) for shape in (stage.input_shape, stage.output_shape)]
    return sum(4 * math.prod(shape) for shape in shapes) <= MOST_BYTES


def run_chain(network: Network, kernels: Kernels, tensors: Mapping[str, AnyArray], starts: Iterable[int] = ()) -> Chain:
    """Run a network plainly.

    Args:
        network: Cut by some plan.
        kernels: What computes.
        tensors: Inputs by ONNX name; borrowed.
        starts: Stage indices from which it shall be possible to go on: all tensors of these moments are kept.
    """
    wanted = frozenset(starts)
    alive: dict[str, AnyArray] = dict(tensors)
    inputs: dict[str, AnyArray] = {}
    results: dict[str, AnyArray] = {}
    before: dict[int, Mapping[str, AnyArray]] = {}
    for index, stage in enumerate(network.stages):
        if index in wanted:
            before[index] = dict(alive)
        if isinstance(stage, LocalStage):
            alive.update(kernels.run_stage(stage, alive))
        else:
            inputs[stage.name] = alive[stage.input]
            results[stage.name] = compute_whole(stage, alive[stage.input], kernels)
            alive[stage.output] = stage.finish.of(results[stage.name])
        _drop(network, index, alive)
    return Chain(network, inputs, results, _outputs(network, alive), before)


def disturbed(chain: Chain, kernels: Kernels, start: int, added: Mapping[str, AnyArray]) -> Chain:
    """Run the network again from a stage on, with something added to the results of some stages.

    Args:
        chain: A plain run that was kept at `start`, which is the first stage to be disturbed.
        kernels: What computes.
        start: Stage index.
        added: By stage name, float32 `stage.output_shape`.

    Returns:
        As far as it was run: results of `start` and what comes behind.
    """
    network = chain.network
    alive = dict(chain.before[start])
    results: dict[str, AnyArray] = {}
    for index, stage in enumerate(network.stages[start:], start):
        if isinstance(stage, LocalStage):
            alive.update(kernels.run_stage(stage, alive))
        else:
            known = index == start
            result = chain.results[stage.name] if known else compute_whole(stage, alive[stage.input], kernels)
            more = added.get(stage.name)
            if more is not None and more.shape == result.shape:  # sizes may depend on values
                with np.errstate(invalid="ignore", over="ignore"):
                    result = result + more
            results[stage.name] = result
            alive[stage.output] = stage.finish.of(result)
        _drop(network, index, alive)
    return Chain(network, {}, results, _outputs(network, alive), {})


def compute_whole(stage: ConvStage | FusedStage, x: AnyArray, kernels: Kernels) -> AnyArray:
    """The result of a distributed stage for an input of any size, in float32; not finished."""
    if isinstance(stage, ConvStage):
        return convolve_whole(stage, x, kernels)
    return compute_segment(stage, x, kernels)


def _drop(network: Network, index: int, alive: dict[str, AnyArray]) -> None:
    for name in [name for name, last in network.last_use.items() if last == index]:
        alive.pop(name, None)


def _outputs(network: Network, alive: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    return arrays_of({info.name: alive[info.name] for info in network.model.outputs})
