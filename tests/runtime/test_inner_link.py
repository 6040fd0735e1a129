"""Agents inside the host round as real agents do, program by program."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from cocoi_agent.engine import Port
from cocoi_agent.replies import Replier, choose
from cocoi_cli.model.network import ConvSpec
from cocoi_cli.model.slices import slice_program
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.inner_link import ANSWER, InnerLink, answer_of, narrowed
from cocoi_cli.runtime.loading import ProgramSource

SPEC = ConvSpec((3, 3), (1, 1), (1, 1), (1, 1), (1, 1), 1, 2, 3)
RNG = np.random.default_rng(6)
WEIGHT = RNG.standard_normal((3, 2, 3, 3)).astype(np.float32)
PORTS = (Port("y16", "f16", 4), Port("y32", "f32", 4))


@pytest.mark.parametrize("size", [1.0, 0.0, 1e-3, 2.0**-6, 1e-12, 1e-37, 65503.0, 65519.0, 65520.0, 1e6, 3e38, np.inf])
def test_answers_in_float16_are_those_of_an_agent(size) -> None:
    y = (RNG.standard_normal((1, 3, 4, 5)) / 8).astype(np.float32)
    y = np.clip(y, -0.9, 0.9) * np.float32(min(size, 3e38))
    y[0, 0, 0, 0] = size
    with np.errstate(over="ignore"):
        reply = Replier().reply(choose(PORTS, "f16"), {"y16": y.astype(np.float16), "y32": y}, 1.0)
    ((spec, theirs),) = reply.tensors
    ours, scale = narrowed(y)
    assert (ours.dtype, scale) == (theirs.dtype, spec.scale)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("reply", ["f16", "f32"])
def test_a_scale_passes_through_a_linear_program_and_is_multiplied_out_for_others(reply) -> None:
    kernels = HostKernels(threads=1)
    graph = slice_program(SPEC, 2, "f16")
    x = RNG.standard_normal((1, 2, 5, 4)).astype(np.float16)
    plain = kernels.run_program(graph, {"x": x}, ["y32"], {"w": WEIGHT})[0]
    for linear in (True, False):
        source = ProgramSource(graph, {"w": WEIGHT}, linear=linear)
        y, scale = answer_of(kernels, source, x, 4.0, reply)
        assert scale == (4.0 if linear else 1.0)
        assert y.dtype == (np.float16 if reply == "f16" else np.float32)
        np.testing.assert_allclose(y.astype(np.float32) * scale, plain * 4.0, rtol=0, atol=2e-2)


def test_programs_are_held_by_id_and_run_on_what_is_sent() -> None:
    kernels = HostKernels(threads=1)
    answers = []

    class Owner:
        def answered(self, link, answer, tensors) -> None:
            answers.append((answer, tensors))

        def lost(self, link, cause) -> None:
            raise AssertionError(cause)

    async def main() -> None:
        link = InnerLink("a", Owner(), kernels, lambda _: ANSWER)
        for factor in (1.0, 2.0):
            link.hold(f"p{factor}", ProgramSource(slice_program(SPEC, 2, "f32"), {"w": WEIGHT * np.float32(factor)}))
        x = np.ones((1, 2, 5, 4), np.float32)
        for part, program in enumerate(("p1.0", "p2.0")):
            link.send_share(
                stream=1, codeword=7, share=part, program=program, x=x, scale=1.0, axis=2, reply="f32", deadline_s=None
            )
        assert answers == []  # they come later, as from a wire
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    (first, (one,)), (second, (two,)) = answers
    assert [(first.codeword, first.part), (second.codeword, second.part)] == [(7, 0), (7, 1)]
    np.testing.assert_allclose(2 * one, two, rtol=1e-6)
