"""The agent as `bench/agent.py` starts it: with a clock at its way out and bare ONNX Runtime beside it.

The agent itself is untouched and does not measure: from outside, what sends an answer is
wrapped, so that the moment is known when all its bytes are with the kernel. Asked by the
message `bench-turn` it computes the strips of the last run once more, in the same session
but bare: strips already cut, one `session.run` after another. It then prints one line of
JSON: `sent_s` (on the machine's monotonic clock) and `bare_s` (seconds).
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from cocoi_agent import daemon, transport
from cocoi_agent.connection import Connection
from cocoi_agent.engine import run_options
from cocoi_agent.options import parse
from cocoi_agent.worker import Worker

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Sequence

    from cocoi_agent.clients import Client
    from cocoi_agent.wire.messages import Message, Run, UnknownMessage
    from cocoi_agent.wire.tensors import AnyArray

TURN = "bench-turn"


class TimedConnection(Connection):
    """Knows when the last answer with tensors was with the kernel.

    Attributes:
        sent_s: Monotonic clock.
    """

    sent_s = 0.0

    def send_nowait(self, message: Message, tensors: Sequence[AnyArray] = ()) -> None:
        """As the agent sends, by way of `send`, whose future tells."""
        sent = self.send(message, tensors)
        if sent.done():
            self._note(sent)
        else:
            sent.add_done_callback(self._note)

    def _note(self, _sent: Future[None]) -> None:
        self.sent_s = time.monotonic()


class TimedWorker(Worker):
    """Keeps the last run, and computes it bare when asked."""

    _last: tuple[Run, tuple[AnyArray, ...]]

    def _on_run(self, client: Client, run: Run, tensors: tuple[AnyArray, ...]) -> None:
        self._last = run, tensors
        super()._on_run(client, run, tensors)

    def _on_unknown(self, client: Client, message: UnknownMessage, tensors: tuple[AnyArray, ...]) -> None:
        if message.type != TURN:
            super()._on_unknown(client, message, tensors)
            return
        assert isinstance(client.connection, TimedConnection)
        sys.stdout.write(json.dumps({"sent_s": client.connection.sent_s, "bare_s": self._bare()}) + "\n")
        sys.stdout.flush()

    def _bare(self) -> float:
        run, (x,) = self._last
        program = self.library.find_program(run.program)
        assert program is not None
        cut = [np.ascontiguousarray(x[:, :, part.start : part.stop]) for part in run.parts]
        begun = time.perf_counter()
        for strip in cut:
            program.session.run(["y16"], {"x": strip, **program.bound}, run_options())
        return time.perf_counter() - begun


def main() -> None:
    """Serve as `python -m cocoi_agent` does, with the two classes in place of the agent's."""
    setattr(transport, "Connection", TimedConnection)  # noqa: B010 - mypy knows that it is a class
    setattr(daemon, "Worker", TimedWorker)  # noqa: B010 - the same
    sys.exit(daemon.run(parse(sys.argv[1:])))


if __name__ == "__main__":
    main()
