"""Collecting the bars of a timeline while an inference runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.runtime.report import Span, Trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cocoi_agent.wire.messages import Answer
    from cocoi_cli.runtime.driving import SentShare
    from cocoi_cli.runtime.inference import Clock

HOST = "host"


class Timeline:
    """Spans in seconds since the start of the inference; does nothing when switched off."""

    def __init__(self, start_s: float, *, enabled: bool) -> None:
        """Count from `start_s` of the host's monotonic clock."""
        self._start_s = start_s
        self._enabled = enabled
        self._spans: list[Span] = []

    def host(self, name: str, start_s: float, end_s: float, **args: str | int | float) -> None:
        """A bar of the host, in host-monotonic seconds."""
        if self._enabled:
            self._spans.append(Span(HOST, name, start_s - self._start_s, end_s - self._start_s, args))

    def answer(self, agent: str, clock: Clock, answer: Answer, sent: SentShare, now: float, outcome: str) -> None:
        """The bars of one share on an agent: send, queue, run, return, on the host's clock.

        The agent's times are shifted by the estimated offset and held between sending
        and arrival, so that an estimate that is a little wrong draws no impossible bar.
        """
        if not self._enabled:
            return
        times = [sent.at_s]
        for agent_s in (answer.received_s, answer.started_s, answer.finished_s):
            times.append(min(max(agent_s - clock.offset_s, times[-1]), now))
        times.append(now)
        args: dict[str, str | int | float] = {
            "stage": sent.work.name,
            "strip": sent.strip,
            "share": answer.part,
            "bytes": sum(spec.nbytes for spec in answer.tensors),
            "outcome": outcome,
        }
        for name, start, end in zip(("send", "queue", "run", "return"), times, times[1:], strict=False):
            self._spans.append(Span(agent, name, start - self._start_s, end - self._start_s, args))

    def trace(self, clocks: Mapping[str, Clock]) -> Trace | None:
        """Everything collected, or None when switched off."""
        if not self._enabled:
            return None
        return Trace(tuple(self._spans), {agent: clock.uncertainty_s for agent, clock in clocks.items()})
