"""Whether an agent serves: connected with the fleet's keys, and asked to compute something small.

The same path as an inference takes: TLS with pinned certificates, greeting, program, share,
answer. What comes back is compared with numpy; all numbers are small integers.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from cocoi_agent.transport import TrustError, host_context
from cocoi_agent.wire.messages import Binding, Status
from cocoi_agent.wire.programs import program_id
from cocoi_agent.wire.tensors import bytes_of
from cocoi_cli.model.network import ConvSpec
from cocoi_cli.model.slices import slice_program
from cocoi_cli.runtime.connecting import where as place
from cocoi_cli.runtime.link import AgentLink, Program, tcp
from cocoi_cli.runtime.link_errors import LinkError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cocoi_agent.wire.messages import Answer
    from cocoi_cli.runtime.addresses import AgentAddress
    from cocoi_cli.runtime.inference import Link
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.trust import Identity

_SPEC: Final = ConvSpec((3, 3), (1, 1), (1, 1), (0, 1), (0, 1), 1, 4, 6)
_ROWS_AXIS: Final = 2
_TOLERANCE: Final = 0.25  # far above any rounding, and wrong integers are 1 apart


class WrongAnswerError(LinkError):
    """The agent computes, and not what it was asked for."""

    code: ClassVar[str] = "agent-wrong-answer"


class WrongAgentError(LinkError):
    """Another agent answers than was expected there, or another version of it."""

    code: ClassVar[str] = "agent-mismatch"


@dataclass(frozen=True, slots=True)
class Health:
    """A healthy agent.

    Attributes:
        id: What the agent calls itself.
        version: Of the agent's software.
        onnxruntime: Version of its ONNX Runtime; empty if it does not tell.
        machine: Everything that it tells about its machine.
        seconds: From connecting to the checked answer.
        compute_s: What the agent needed for the convolution.
        round_trip_s: The shortest of a few round trips.
    """

    id: str
    version: str
    onnxruntime: str
    machine: Mapping[str, str | int | float]
    seconds: float
    compute_s: float
    round_trip_s: float


async def check(
    address: AgentAddress, identity: Identity | None, *, expect_version: str | None = None, timeout_s: float = 20.0
) -> Health:
    """Connect to an agent, let it compute a small convolution, and compare.

    Args:
        address: Where it listens, and what it must show.
        identity: The host's certificate and key; None only with an address without a certificate.
        expect_version: The version that must answer; None for any.
        timeout_s: For everything together.

    Raises:
        LinkError: Unreachable, refused, silent, broke off, or cannot compute it.
        WrongAgentError: Another agent or version answers.
        WrongAnswerError: It computes something else.
    """
    where = place(address)
    link = AgentLink(address.id, owner := _Owner(address.id, where))
    begin = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            await link.open(where, tcp(address.host, address.port, _context(address, identity, where)))
            _check_who(link, where, expect_version)
            answer = await _compute(link, owner)
            seconds = time.monotonic() - begin
    except TimeoutError:
        raise LinkError(address.id, where, f"no healthy answer within {timeout_s:g} s") from None
    finally:
        await link.aclose()
    machine = link.welcome.machine
    return Health(
        id=link.welcome.agent,
        version=_version(link),
        onnxruntime=str(machine.get("onnxruntime", "")),
        machine=machine,
        seconds=seconds,
        compute_s=answer.finished_s - answer.started_s,
        round_trip_s=2 * link.clock.uncertainty_s,
    )


class _Owner:
    """Takes the one answer."""

    def __init__(self, agent: str, where: str) -> None:
        self.agent = agent
        self.where = where
        self.answer: asyncio.Future[tuple[Answer, Sequence[AnyArray]]] = asyncio.get_running_loop().create_future()

    def answered(self, link: Link, answer: Answer, tensors: Sequence[AnyArray]) -> None:
        if not self.answer.done():
            self.answer.set_result((answer, tensors))

    def lost(self, link: Link, cause: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(LinkError(self.agent, self.where, cause))
            self.answer.exception()  # read, so that nobody complains where it is not awaited any more


async def _compute(link: AgentLink, owner: _Owner) -> Answer:
    x, weight = _inputs()
    program, blobs = _program(weight)
    await link.prepare([program], blobs)
    link.send_share(
        stream=0,
        codeword=0,
        share=0,
        program=program.id,
        x=x,
        scale=1.0,
        axis=_ROWS_AXIS,
        reply="f16",
        deadline_s=None,
    )
    answer, tensors = await owner.answer
    if answer.status is not Status.DONE:
        cause = f"it did not compute: {answer.message or answer.code or answer.status.value}"
        raise LinkError(link.id, owner.where, cause, kind="refused")
    if fault := _difference(answer, tensors, _convolved(x, weight)):
        raise WrongAnswerError(link.id, owner.where, f"a small convolution came back wrong: {fault}")
    return answer


def _context(address: AgentAddress, identity: Identity | None, where: str) -> ssl.SSLContext | None:
    if address.certificate is None:
        return None
    if identity is None:
        raise LinkError(address.id, where, "this host has no certificate")
    try:
        return host_context(identity.certificate, identity.key, address.certificate)
    except TrustError as error:
        cause = f"`{error.path}`: {error.reason[:1].lower()}{error.reason[1:]}"
        raise LinkError(address.id, where, cause) from error


def _check_who(link: AgentLink, where: str, version: str | None) -> None:
    if link.welcome.agent != link.id:
        raise WrongAgentError(link.id, where, f"agent `{link.welcome.agent}` answers there")
    if version is not None and _version(link) != version:
        raise WrongAgentError(link.id, where, f"version {_version(link)} answers, not {version}")


def _version(link: AgentLink) -> str:
    """The last word of, for example, `cocoi-agent 0.1.0`."""
    return link.welcome.software.rsplit(" ", 1)[-1]


def _inputs() -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Small integers, so that every sum is exact even in float16: `(1, 4, 8, 8)` and `(6, 4, 3, 3)`."""
    x = np.arange(4 * 8 * 8) % 7 - 3
    weight = np.arange(6 * 4 * 3 * 3) % 5 - 2
    return x.astype(np.float16).reshape(1, 4, 8, 8), weight.astype(np.float32).reshape(6, 4, 3, 3)


def _program(weight: NDArray[np.float32]) -> tuple[Program, dict[str, bytes | memoryview]]:
    graph, data = slice_program(_SPEC, _ROWS_AXIS, "f16"), bytes_of(weight)
    graph_hash, data_hash = (hashlib.sha256(each).hexdigest() for each in (graph, data))
    bindings = (Binding("w", data_hash, "f32", weight.shape, "input"),)
    program = Program(program_id(graph_hash, bindings, linear=True), graph_hash, bindings)
    return program, {graph_hash: graph, data_hash: data}


def _convolved(x: NDArray[np.float16], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same by numpy: no padding of rows, one column of zeros on either side."""
    padded = np.pad(x.astype(np.float32), ((0, 0), (0, 0), (0, 0), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    result: NDArray[np.float32] = np.einsum("bchwij,ocij->bohw", windows, weight)
    return result


def _difference(answer: Answer, tensors: Sequence[AnyArray], expected: NDArray[np.float32]) -> str:
    """What is wrong with the answer; empty if nothing is."""
    if len(tensors) != 1 or tensors[0].shape != expected.shape:
        return f"its shapes are {[tensor.shape for tensor in tensors]}, not {[expected.shape]}"
    found = tensors[0].astype(np.float32) * np.float32(answer.tensors[0].scale)
    # Written so that what is not a number is wrong too.
    wrong = int(np.count_nonzero(~(np.abs(found - expected) <= _TOLERANCE)))
    return f"{wrong} of {expected.size} numbers differ" if wrong else ""
