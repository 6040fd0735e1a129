"""A coordinator over fake links, driven to the end of one inference."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.network import LoadedModel
from cocoi_cli.model.stages import cut
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.inference import Job, Outcome
from cocoi_cli.runtime.inner_link import ANSWER, InnerLink
from cocoi_cli.runtime.loading import loading_of


def always(_: int) -> str:
    return ANSWER


@dataclass
class Ask:
    n: int | None = None
    k: int | None = None
    scheme: str = "coded"
    transport: str = "f32"
    deadline_s: float = 60.0
    fallback: bool = True


def infer(
    model: LoadedModel,
    tensors: Mapping[str, np.ndarray],
    behaviours: list[Callable[[int], str]],
    ask: Ask,
    observe: Callable[[str, np.ndarray], None] | None = None,
    times: int = 1,
    feed: Mapping[str, np.ndarray] | None = None,
) -> list[Outcome]:
    """One inference after another on one fake fleet; agent i behaves like `behaviours[i]`.

    `feed` is what really comes in, where it is not what was planned for.
    """

    async def main() -> list[Outcome]:
        kernels = HostKernels(threads=1)
        coordinator = Coordinator(kernels)
        links = [InnerLink(f"a{index}", coordinator, kernels, behave) for index, behave in enumerate(behaviours)]
        coordinator.attach(links)
        prepared = find_layers(model, {name: array.shape for name, array in tensors.items()})
        plan = default_plan(
            prepared.layers, agents=len(links), scheme=ask.scheme, n=ask.n, k=ask.k, transport=ask.transport
        )
        network = cut(prepared, plan.distributed)
        programs = loading_of(network, plan).stages
        for link in links:
            link.load(network, plan, programs)
        job = Job(
            network=network,
            plan=plan,
            programs=programs,
            tensors=tensors if feed is None else feed,
            deadline_s=ask.deadline_s,
            fallback=ask.fallback,
            observe=observe,
        )
        outcomes = [await coordinator.run(job) for _ in range(times)]
        assert len(asyncio.all_tasks()) == 1, "the coordinator left a task behind"
        return outcomes

    return asyncio.run(main())
