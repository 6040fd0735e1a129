"""What a simulation found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cocoi_cli.planning.profile import quantile

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class StageResult:
    """One stage over all inferences.

    Attributes:
        name: Of the stage.
        kind: `local`, `conv` or `fused`.
        walls_s: From its beginning to its end, one per inference.
    """

    name: str
    kind: str
    walls_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AgentResult:
    """One device over all inferences; every share that it computed was used or late, or is lost with the device.

    Attributes:
        name: In the fleet; `host` for the host's own shares.
        used: Shares whose answers were used.
        late: Shares whose answers came when nobody waited for them any more.
        dropped: Shares that it dropped when it was told to, before or while it computed them.
        used_s: Seconds of computing that were of use.
        wasted_s: Seconds of computing that were not.
        bytes_out: Sent to it.
        bytes_in: Received from it.
    """

    name: str
    used: int
    late: int
    dropped: int
    used_s: float
    wasted_s: float
    bytes_out: int
    bytes_in: int


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time: for a picture of one inference.

    Attributes:
        lane: Who: `host`, or the name of a device.
        start_s: From the beginning of the inference.
        end_s: Likewise.
        kind: `used`, `late`, `send`, `receive`, `decode` or `local`.
    """

    lane: str
    start_s: float
    end_s: float
    kind: str


@dataclass(frozen=True, slots=True)
class Result:
    """A plan on a fleet, a number of inferences in a row.

    Attributes:
        latencies_s: One per inference, in order.
        stages: In order.
        agents: In the order of the fleet.
        host_s: Seconds of the host's serial part: cutting, coding, casting, sockets.
        local_s: Seconds of the host's kernels: local stages, its own shares, shares that no agent could compute.
        rescued: Shares that the host computed because no agent could.
        spans: Of the last inference; empty unless asked for.
    """

    latencies_s: tuple[float, ...]
    stages: tuple[StageResult, ...]
    agents: tuple[AgentResult, ...]
    host_s: float
    local_s: float
    rescued: int
    spans: tuple[Span, ...] = ()

    @property
    def bytes_out(self) -> float:
        """Sent to all devices, per inference."""
        return sum(agent.bytes_out for agent in self.agents) / len(self.latencies_s)

    @property
    def bytes_in(self) -> float:
        """Received from all devices, per inference."""
        return sum(agent.bytes_in for agent in self.agents) / len(self.latencies_s)

    @property
    def wasted(self) -> float:
        """The part of the devices' computing that was of no use, 0 to 1."""
        used, wasted = (sum(getattr(agent, name) for agent in self.agents) for name in ("used_s", "wasted_s"))
        return wasted / (used + wasted) if used + wasted else 0.0

    @property
    def mean_s(self) -> float:
        """Mean latency."""
        return sum(self.latencies_s) / len(self.latencies_s)

    def quantile_s(self, q: float) -> float:
        """The q-quantile of the latency."""
        return quantile(self.latencies_s, q)

    @property
    def stage_means_s(self) -> Mapping[str, float]:
        """Mean wall time of each stage, in order."""
        return {stage.name: sum(stage.walls_s) / len(stage.walls_s) for stage in self.stages if stage.walls_s}
