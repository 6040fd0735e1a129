"""A whole unmodified model on one agent: what distributing is held against.

The agent runs any ONNX graph, so the baseline of a single device needs nothing of its
own: the model's file is a program, the picture its share, and its outputs the answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cocoi_agent.wire.messages import Status
from cocoi_agent.wire.programs import program_id
from cocoi_cli.runtime.link import Program
from cocoi_cli.runtime.link_errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_agent.wire.messages import Answer
    from cocoi_cli.model.network import LoadedModel
    from cocoi_cli.runtime.link import AgentLink
    from cocoi_cli.runtime.report import AnyArray

CODEWORD: Final = 0  # codewords of stages begin at 1


class WholeModel:
    """Runs a model on one agent at a time; answers are handed to it by whoever owns the links."""

    def __init__(self) -> None:
        """Nothing runs."""
        self._answer: asyncio.Future[tuple[Answer, Sequence[AnyArray]]] | None = None
        self._expected: tuple[str, int] | None = None  # the agent that is asked, and the number of the run
        self._programs: dict[str, tuple[Program, bytes]] = {}

    async def run(
        self, link: AgentLink, model: LoadedModel, tensors: Mapping[str, AnyArray], deadline_s: float
    ) -> tuple[dict[str, AnyArray], float]:
        """Run once.

        Args:
            link: To the agent; the model is sent to it if it lacks it.
            model: As loaded; its file is read again.
            tensors: Its inputs by name.
            deadline_s: Seconds to wait.

        Returns:
            Outputs by name, and the seconds from the tensors to the outputs, sending included.

        Raises:
            LinkError: The agent is lost, refuses the model, fails or is silent.
        """
        program, data = await asyncio.to_thread(self._program, model)
        await link.prepare((program,), {program.graph: data})
        self._answer = asyncio.get_running_loop().create_future()
        start = time.monotonic()
        self._expected = link.id, link.send_model(CODEWORD, program.id, tensors)
        try:
            async with asyncio.timeout(deadline_s):
                answer, arrays = await self._answer
        except TimeoutError:
            link.cancel(CODEWORD, 0)
            raise LinkError(link.id, link.id, f"no answer within {deadline_s:g} s") from None
        finally:
            self._answer = self._expected = None
        if answer.status is not Status.DONE:
            raise LinkError(link.id, link.id, f"{answer.message or answer.status.value} (`{answer.code}`)")
        outputs = {spec.name: array for spec, array in zip(answer.tensors, arrays, strict=True)}
        return outputs, time.monotonic() - start

    def take(self, agent: str, answer: Answer, tensors: Sequence[AnyArray]) -> bool:
        """Whether an answer was for this object; one that was given up before is dropped."""
        if answer.codeword != CODEWORD:
            return False
        if self._answer is not None and not self._answer.done() and (agent, answer.run) == self._expected:
            self._answer.set_result((answer, tensors))
        return True

    def lost(self, agent: str, cause: str) -> None:
        """An agent is gone."""
        asked = self._expected is not None and self._expected[0] == agent
        if asked and self._answer is not None and not self._answer.done():
            self._answer.set_exception(LinkError(agent, agent, cause))

    def _program(self, model: LoadedModel) -> tuple[Program, bytes]:
        found = self._programs.get(model.sha256)
        if found is None:
            data = Path(model.path).read_bytes()
            graph = hashlib.sha256(data).hexdigest()
            program = Program(program_id(graph, (), linear=False), graph, (), linear=False)
            self._programs.clear()
            found = self._programs[model.sha256] = program, data
        return found


def link_to(links: Sequence[AgentLink], agent: str, living: Sequence[str]) -> AgentLink:
    """The link to one agent.

    Raises:
        LinkError: It is not in the fleet, or was lost.
    """
    for link in links:
        if link.id == agent and agent in living:
            return link
    raise LinkError(agent, agent, "it is not connected")
