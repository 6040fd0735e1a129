"""Blobs and programs on request: have, put and load, one after another in a thread of their own.

Hashing, writing and making sessions take long; none of it may hold up the loop or
the compute thread. Requests are answered in the order in which they came.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from cocoi_agent.engine import Engine, EngineError, OutOfMemoryError, Program
from cocoi_agent.lanes import Lane
from cocoi_agent.store import Store, StoreError
from cocoi_agent.wire.messages import Fault, Have, Load, Loaded, Missing, Put, Stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from cocoi_agent.budget import Budget
    from cocoi_agent.clients import Client
    from cocoi_agent.wire.tensors import AnyArray

MAX_PROGRAMS: Final = 512
MAX_REQUESTS: Final = 256  # unanswered haves, puts and loads of one host


class Library:
    """The store and the programs that were loaded from it.

    Args:
        engine: Makes programs.
        store: Keeps blobs; used in the library's own thread.
        budget: Blobs on their way to the store count against it.
        program_limit: Bytes that loaded programs may take; beyond, those that were not used for longest are dropped
            (a host loads them again where it needs them), but never the newest.
    """

    def __init__(self, engine: Engine, store: Store, budget: Budget, program_limit: int) -> None:
        self._engine = engine
        self._store = store
        self._budget = budget
        self._lane = Lane("store")
        self._programs: OrderedDict[str, Program] = OrderedDict()
        self._program_limit = program_limit

    def __repr__(self) -> str:
        return f"<Library programs={len(self._programs)} store_bytes={self.used_bytes}>"

    @property
    def used_bytes(self) -> int:
        """Bytes of stored blobs."""
        return self._store.used_bytes

    def find_program(self, program: str) -> Program | None:
        """A loaded program; counts as its use."""
        found = self._programs.get(program)
        if found is not None:
            self._programs.move_to_end(program)
        return found

    def have(self, client: Client, message: Have) -> None:
        """Answer which blobs are missing."""

        def work() -> tuple[str, ...]:
            return tuple(digest for digest in message.hashes if not self._store.has(digest))

        self._request(client, work, lambda missing: client.tell(Missing(missing)), "")

    def put(self, client: Client, message: Put, data: AnyArray, reserved: int) -> None:
        """Store a blob; `reserved` bytes of the budget are given back when that is done."""

        def work() -> None:
            self._store.put(message.hash, data)

        def freed() -> None:
            self._budget.release(reserved)

        self._request(client, work, lambda _: client.tell(Stored(message.hash)), message.hash, freed)

    def load(self, client: Client, message: Load) -> None:
        """Make a program ready."""
        if self.find_program(message.program) is not None:
            client.tell(Loaded(message.program))
            return

        def ready(program: Program) -> None:
            self._programs[program.id] = program
            self._programs.move_to_end(program.id)
            self._drop_surplus()
            client.tell(Loaded(program.id))

        self._request(client, lambda: self._engine.load(message, self._store.open), ready, message.program)

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self._lane.close()

    def _drop_surplus(self) -> None:
        taken = sum(program.size_bytes for program in self._programs.values())
        while len(self._programs) > MAX_PROGRAMS or (taken > self._program_limit and len(self._programs) > 1):
            _, dropped = self._programs.popitem(last=False)
            taken -= dropped.size_bytes

    def _request(
        self,
        client: Client,
        work: Callable[[], Any],
        done: Callable[[Any], None],
        about: str,
        freed: Callable[[], None] | None = None,
    ) -> None:
        """Do something in the thread; expected errors become faults."""

        def finished(result: Any, error: BaseException | None) -> None:  # noqa: ANN401 - passed through
            client.requests -= 1
            if freed is not None:
                freed()
            if error is None:
                done(result)
            else:
                client.tell(_fault(error, about))

        client.requests += 1
        if client.requests > MAX_REQUESTS:
            client.refuse(Fault("too-many-requests", f"more than {MAX_REQUESTS} requests wait"))
        self._lane.submit(work, finished)


def _fault(error: BaseException, about: str) -> Fault:
    if isinstance(error, MemoryError):
        error = OutOfMemoryError(str(error) or "no memory")
    code = error.code if isinstance(error, StoreError | EngineError) else "internal"
    return Fault(code, (str(error) or type(error).__name__)[:1000], getattr(error, "digest", about))
