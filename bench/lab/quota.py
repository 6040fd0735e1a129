"""From a share of a core to the two numbers of the kernel's bandwidth control.

The kernel grants `quota_us` in every `period_us` and takes neither below 1 ms nor a period
above 1 s. The shortest period that still gives the share is the best one: a device then
stops and goes on hundreds of times a second, as near to a slower processor as it gets.
Kernel documentation: scheduler/sched-bwc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

LEAST_QUOTA_US: Final = 1_000
LEAST_PERIOD_US: Final = 4_000  # below the usual timer tick of 4 ms, quotas above the minimum gain nothing
MOST_PERIOD_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Quota:
    """Processor time in each period, both in microseconds."""

    quota_us: int
    period_us: int

    @property
    def percent(self) -> float:
        """Of one core: what is really granted."""
        return 100 * self.quota_us / self.period_us


def quota(percent: float) -> Quota:
    """The quota nearest to a share of one core.

    Args:
        percent: Above 0; more than 100 is several cores. Below 0.1 the kernel's limits
            leave 0.1.
    """
    share = percent / 100
    period = min(MOST_PERIOD_US, max(LEAST_PERIOD_US, math.ceil(LEAST_QUOTA_US / share)))
    return Quota(max(LEAST_QUOTA_US, round(period * share)), period)


def quota_of(cpu: float | None, slow: float = 1.0, cores: int = 1) -> Quota | None:
    """The quota of a device that is `slow` times slower than it should be.

    Args:
        cpu: Percent of a core, or None for no quota: then `slow` is taken from all cores.
        slow: At least 1; of several slowdowns the product.
        cores: Of this machine.

    Returns:
        None for no quota.
    """
    if cpu is None:
        return None if slow == 1 else quota(100 * cores / slow)
    return quota(cpu / slow)
