"""The same subtasks on dask.distributed: what a general task scheduler makes of them.

As plain as a user of dask would write it: for each stage every share is scattered to the worker that it belongs
to, with a convolution submitted to it; the first answers that decode are gathered, the rest cancelled. Codes,
casts and cutting are those of the engine, and whole shares travel: dask has no way to stream strips, or to stop a
task.

dask is no dependency of cocoi: without it the row says so. Workers need `cocoi_cli` for nothing but
`cocoi_cli.benchmark.dask_task`, with numpy and ONNX Runtime.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from cocoi_cli.benchmark.dask_task import run_share
from cocoi_cli.benchmark.errors import DaskError
from cocoi_cli.benchmark.statistics import median
from cocoi_cli.model.inputs import in_sentence
from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.network import ConvStage, LocalStage
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.stages import cut
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.runtime.blocks import Blocks
from cocoi_cli.runtime.loading import code_of, stage_programs
from cocoi_cli.runtime.outputs import arrays_of
from cocoi_cli.runtime.work import StageWork

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cocoi_cli.model.network import LoadedModel, Network
    from cocoi_cli.planning.plan import ConvPlan, Plan
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.report import AnyArray

CONNECT_S: Final = 30.0
ENOUGH_S: Final = 120.0  # an inference that takes longer is given up: its worker is gone for good


@dataclass(frozen=True, slots=True)
class DaskAnswer:
    """One inference; the fields are those of a benchmark's sample."""

    outputs: Mapping[str, AnyArray]
    latency_s: float
    bytes_out: int
    bytes_in: int
    used: int
    late: int
    workers: int
    plan: Plan


@dataclass(slots=True)
class _Tally:
    """Bytes and answers of one inference."""

    bytes_out: int = 0
    bytes_in: int = 0
    used: int = 0
    late: int = 0


def is_installed() -> bool:
    """Whether dask.distributed can be imported."""
    return importlib.util.find_spec("distributed") is not None


class DaskRow:
    """A client of a dask scheduler; a context manager.

    Attributes:
        usual_s: Median seconds of the inferences so far; 0 before the first.
    """

    def __init__(self, kernels: Kernels, *, agents: int, address: str | None, k: int | None, transport: str) -> None:
        """Plan; nothing is started yet.

        Args:
            kernels: Run the local stages.
            agents: Workers to start where `address` is None, one process with one thread each.
            address: Of a scheduler whose workers run on the devices.
            k: Answers that suffice; None by rule.
            transport: `f16` or `f32`.
        """
        self._kernels, self._agents, self._address, self._k, self._transport = kernels, agents, address, k, transport
        self._client: Any = None
        self._cluster: Any = None
        self._networks: dict[str, tuple[Network, Plan]] = {}
        self._weights: dict[str, Any] = {}
        self._took: list[float] = []

    def __enter__(self) -> Self:
        """Start the workers, or connect to the scheduler.

        Raises:
            DaskError: If they do not start, or the scheduler does not answer.
        """
        try:
            distributed = importlib.import_module("distributed")
            if self._address is None:
                self._cluster = distributed.LocalCluster(
                    n_workers=self._agents, threads_per_worker=1, processes=True, dashboard_address=None
                )
            self._client = distributed.Client(self._cluster or self._address, timeout=CONNECT_S)
        except Exception as error:  # dask's have no common base; its packages may be broken too
            self.__exit__()
            where = "on this machine" if self._address is None else f"at `{self._address}`"
            raise DaskError(where, in_sentence(str(error) or type(error).__name__)) from error
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection, and the workers that were started."""
        self._weights.clear()
        for each in (self._client, self._cluster):
            if each is not None:
                each.close()
        self._client = self._cluster = None

    @property
    def usual_s(self) -> float:
        """Median seconds so far."""
        return median(self._took) or 0.0

    def infer(self, model: LoadedModel, tensors: Mapping[str, AnyArray]) -> DaskAnswer | None:
        """Run one inference; None where too few workers answer in `ENOUGH_S` for a stage."""
        workers = sorted(self._client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            return None
        network, plan = self._network(model, tensors, len(workers))
        tally, started = _Tally(), time.perf_counter()
        values: dict[str, AnyArray] = dict(tensors)
        plans = {layer.layer: layer for layer in plan.layers}
        for stage in network.stages:
            if isinstance(stage, LocalStage):
                inputs = {name: values[name] for name in stage.inputs}
                values.update(self._kernels.run_stage(stage, inputs))
                continue
            assert isinstance(stage, ConvStage)  # noqa: S101 - the default plan fuses nothing
            found = self._stage(stage, plans[stage.name], values[stage.input], workers, tally)
            if found is None:
                return None
            values[stage.output] = found
        took = time.perf_counter() - started
        self._took.append(took)
        outputs = arrays_of({info.name: values[info.name] for info in model.outputs})
        return DaskAnswer(outputs, took, tally.bytes_out, tally.bytes_in, tally.used, tally.late, len(workers), plan)

    def _network(self, model: LoadedModel, tensors: Mapping[str, AnyArray], workers: int) -> tuple[Network, Plan]:
        key = f"{model.sha256} {workers}"
        if key not in self._networks:
            shapes = {name: tuple(array.shape) for name, array in tensors.items()}
            prepared = find_layers(model, resolve_input_shapes(model, shapes))
            k = None if self._k is None else min(self._k, workers)
            asked = default_plan(
                prepared.layers, agents=workers, scheme="coded", n=workers, k=k, transport=self._transport
            )
            plan = replace(asked, layers=tuple(replace(layer, strips=min(layer.strips, 1)) for layer in asked.layers))
            self._networks = {key: (cut(prepared, plan.distributed), plan)}
            self._weights.clear()
        return self._networks[key]

    def _stage(
        self, stage: ConvStage, plan: ConvPlan, x: AnyArray, workers: list[str], tally: _Tally
    ) -> AnyArray | None:
        """One stage: scatter, submit, gather the first that decode."""
        distributed = importlib.import_module("distributed")
        code, program = code_of(plan), stage_programs(stage, plan)[0]
        work = StageWork(stage, plan, code, x, Blocks())
        weights = self._weights_of(stage.name, dict(program.tensors))
        futures: dict[Any, tuple[int, float]] = {}
        for share, worker in enumerate(workers[: plan.n]):
            sent = work.share(0, share)
            tally.bytes_out += sent.x.nbytes
            task = self._client.submit(
                run_share,
                program.graph,
                self._client.scatter(sent.x, workers=[worker], hash=False),
                weights,
                "y16" if sent.reply == "f16" else "y32",
                workers=[worker],
                pure=False,
            )
            futures[task] = (share, sent.scale)
        arrived: list[int] = []
        try:
            for task in distributed.as_completed(futures, timeout=ENOUGH_S):
                if task.status != "finished":  # its worker is gone, or it was refused there
                    continue
                answer = task.result(timeout=ENOUGH_S)
                share, scale = futures[task]
                tally.bytes_in += answer.nbytes
                tally.used += 1
                work.accept(0, share, answer, scale)
                arrived.append(share)
                if code.ready(set(arrived)):
                    work.decode(0, arrived, self._kernels)
                    return work.hand_over()
        except TimeoutError:
            return None
        finally:
            tally.late += len(futures) - len(arrived)
            self._client.cancel(list(futures))
        return None

    def _weights_of(self, stage: str, tensors: dict[str, AnyArray]) -> Any:  # noqa: ANN401 - a future of dask's
        """The weights on every worker; sent at the first inference only."""
        if stage not in self._weights:
            # In a list: of a dict dask would name what it keeps by the keys, which all layers share.
            (self._weights[stage],) = self._client.scatter([tensors], broadcast=True, hash=False)
        return self._weights[stage]
