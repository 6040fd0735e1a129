"""cocoi as a library: what the command line does, in a few calls.

    from cocoi_cli import Fleet, Options, load_model

    with Fleet.embedded(6) as fleet:
        report = fleet.infer(load_model(path), {"image": tensor}, options=Options(k=4, check=True))
    print(report.outputs["logits"].argmax(), report.latency_s, report.baseline_s)

`Fleet.load()` is the user's own fleet of devices, `Fleet.embedded(n)` one of local processes.
A `Fleet` owns its agents or its connections to them, and one event loop in a thread of its own, so it works in a
script as in a notebook. Nothing here prints; `Progress` tells what happens meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, TypeVar

from cocoi_cli.interrupts import held_back
from cocoi_cli.runtime.deployed import DeployedFleet
from cocoi_cli.runtime.embedded import EmbeddedFleet
from cocoi_cli.runtime.engine import Engine
from cocoi_cli.runtime.options import Options, Progress
from cocoi_cli.runtime.rehearsals import Rehearsals

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from cocoi_cli.model.network import LoadedModel
    from cocoi_cli.planning.fleet_model import FleetModel
    from cocoi_cli.runtime.addresses import Member
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.report import AnyArray, InferenceReport
    from cocoi_cli.runtime.trust import Identity

__all__ = ["Fleet", "Options", "Progress"]

Result = TypeVar("Result")


class Fleet:
    """Agents to infer with; a context manager, to be used from one thread at a time."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        """Use `load`, `deployed`, `embedded` or `none`."""
        self._make_engine = engine
        self._engine: Engine | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[object] | None = None

    @classmethod
    def embedded(cls, agents: int = 6) -> Fleet:
        """So many agents as local processes, started by `__enter__` (or by the first inference).

        Raises:
            FleetSizeError: If `agents` is out of range.
        """
        EmbeddedFleet(agents)  # refuses an impossible number now
        return cls(lambda: Engine(EmbeddedFleet(agents)))

    @classmethod
    def deployed(
        cls,
        members: Sequence[Member],
        identity: Identity | None,
        *,
        rehearsals: Path | None = None,
        model: FleetModel | None = None,
        kernels: Kernels | None = None,
    ) -> Fleet:
        """Agents that run on devices of their own; `__enter__` connects to those that answer.

        One that is down, refuses, talks another version or shows a wrong certificate is not used: the
        report of the next inference has a warning, and a row that says why.

        Args:
            members: Addresses of the agents, in order; members that are known to take no part may stand among them.
            identity: Certificate and key of this host; None where no agent has a certificate.
            rehearsals: File that keeps what rehearsals find, for later processes; None to keep nothing.
            model: What was measured of the fleet, for `Options(scheme="auto")`; None where nothing was.
            kernels: What this machine computes with; None for ONNX Runtime in this process.
        """
        fleet = DeployedFleet(tuple(members), identity)
        return cls(lambda: Engine(fleet, None if rehearsals is None else Rehearsals(rehearsals), model, kernels))

    @classmethod
    def load(cls, path: str | None = None, model: FleetModel | None = None) -> Fleet:
        """The devices of a fleet file, as `cocoi infer` uses them.

        Args:
            path: The fleet file; None for `$COCOI_FLEET`, else the user's own.
            model: What was measured of them (`planning.fleet_fit.fleet_model`), for `Options(scheme="auto")`.

        Raises:
            ConfigurationError: There is no such file, or it or the fleet's keys are unfit.
            NotDeployedError: No device has an agent yet.
        """
        # Only who has a fleet file needs what reads it.
        from cocoi_cli.fleet.agents import usable_agents  # noqa: PLC0415
        from cocoi_cli.fleet.inventory import load, locate  # noqa: PLC0415

        agents = usable_agents(load(locate(path)))
        return cls.deployed(agents.members, agents.identity, rehearsals=rehearsals_path(), model=model)

    @classmethod
    def none(cls) -> Fleet:
        """No agents: everything runs on this machine."""
        return cls(Engine)

    def __enter__(self) -> Fleet:
        """Start the agents, or connect to them.

        Raises:
            FleetError: If an agent of an embedded fleet does not start or does not answer.
            BadKeysError: If this host has no usable key for a deployed fleet.
        """
        self._started()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the connections, stop agents that were started, and wait until they are gone."""
        self.close()

    def infer(
        self,
        model: LoadedModel,
        tensors: Mapping[str, AnyArray],
        *,
        name: str = "",
        options: Options | None = None,
        progress: Progress | None = None,
        observe: Callable[[str, AnyArray], None] | None = None,
    ) -> InferenceReport:
        """Run one inference and compare its time with plain ONNX Runtime on this machine.

        Args:
            model: From `load_model`.
            tensors: Every input by ONNX name, in its declared type; borrowed, never written.
            name: What the report calls the input.
            options: How; the defaults suit a healthy fleet.
            progress: Told what happens meanwhile.
            observe: Called with name and raw sum (float32) of every distributed stage, for tests and studies.

        Returns:
            Outputs as ONNX Runtime would return them, and everything that was measured.

        Raises:
            UsageError: Tensors or options do not fit the model or the fleet.
            ModelError: ONNX Runtime cannot run the model.
            FleetError, DecodeError: Too few agents, where the host may not step in.
        """
        engine = self._started()
        chosen = Options() if options is None else options
        return self._call(engine.infer(model, tensors, name, chosen, progress, observe))

    def process_ids(self) -> dict[str, int]:
        """Agent id to the id of its process, for tests that pause or kill one; empty unless the fleet is embedded."""
        return self._started().process_ids()

    def close(self) -> None:
        """As `__exit__`; idempotent. Whatever asks this process to end meanwhile is heard afterwards."""
        with held_back():
            self._close()

    def _close(self) -> None:
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        try:
            self._finish(self._end_call())
            if self._engine is not None:
                self._finish(self._engine.aclose())
            self._finish(loop.shutdown_default_executor())
        finally:
            self._engine = self._loop = self._thread = None
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _started(self) -> Engine:
        if self._engine is None:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="cocoi-loop", daemon=True)
                self._thread.start()
            # Remembered first: an interrupt may come when all agents have just been connected.
            self._engine = self._make_engine()
            try:
                self._call(self._engine.start())
            except BaseException:
                self.close()
                raise
        return self._engine

    def _call(self, coroutine: Coroutine[None, None, Result]) -> Result:
        """Run in the loop's thread; an interrupt here cancels it there and waits for its clean-up."""
        assert self._loop is not None  # noqa: S101 - set with the thread
        future = asyncio.run_coroutine_threadsafe(self._remembered(coroutine), self._loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                with held_back():
                    self._finish(self._end_call())
            raise

    async def _remembered(self, coroutine: Coroutine[None, None, Result]) -> Result:
        """Known to `close` too: an interrupt may come before `_call` holds the future."""
        self._task = asyncio.current_task()
        try:
            return await coroutine
        finally:
            self._task = None

    async def _end_call(self) -> None:
        """Cancel what `_call` runs, once, and let it finish its clean-up, which is bounded."""
        if (task := self._task) is not None:
            if not task.cancelling():
                task.cancel()
            await asyncio.wait([task], timeout=10.0)

    def _finish(self, coroutine: Coroutine[None, None, None]) -> None:
        """Run clean-up in the loop's thread to its end, which is bounded; signals are held back by the caller."""
        assert self._loop is not None  # noqa: S101 - set with the thread
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def rehearsals_path() -> Path:
    """Where findings of rehearsals are kept: in the user's cache folder."""
    from cocoi_cli.fleet.folders import cache_folder  # noqa: PLC0415  (as in `Fleet.load`)

    return cache_folder() / "rehearsals.json"
