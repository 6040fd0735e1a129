"""What was measured through agents: a table, a line for each, a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from cocoi_cli.planning.profile import quantile, quantiles
from cocoi_cli.views.fits import fits_document
from cocoi_cli.views.tables import plain_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from cocoi_cli.planning.profile import DeviceProfile


def agent_outcome(profile: DeviceProfile) -> str:
    """What was found, in a few words."""
    speed = 0.0 if profile.compute is None else profile.compute.flops_per_s
    return f"{speed / 1e9:.1f} GFLOP/s"


def agents_table(measured: Mapping[str, DeviceProfile]) -> Table:
    """One row per agent: link, speed, and what a share costs beside its convolution."""
    table = plain_table()
    table.add_column("device", no_wrap=True, overflow="ellipsis", min_width=8, max_width=16)
    for title in ("rtt ms", "up MB/s", "down MB/s", "GFLOP/s", "ms a share"):
        table.add_column(title, justify="right", no_wrap=True, min_width=len(title))
    for name, profile in measured.items():
        table.add_row(Text(name), *_cells(profile))
    return table


def agent_document(profile: DeviceProfile) -> dict[str, Any]:
    """One agent as JSON."""
    link, compute = profile.link, profile.compute
    return {
        "facts": dict(profile.facts),
        "link": None
        if link is None
        else {
            "rtt_s": quantiles(link.rtt_s),
            "up_bytes_per_s": quantiles(link.rates("up")),
            "down_bytes_per_s": quantiles(link.rates("down")),
        },
        "compute": None
        if compute is None
        else {
            "onnxruntime": compute.runtime,
            "flops_per_s": compute.flops_per_s,
            "convolutions": len(compute.convolutions),
            "share_s": None if compute.tasks is None else compute.tasks.mean_s,
            "rested_share_s": None if compute.rested is None else compute.rested.mean_s,
        },
        "fits": fits_document(profile),
    }


def _cells(profile: DeviceProfile) -> tuple[str, ...]:
    link, compute = profile.link, profile.compute
    if link is None or compute is None:
        return ("-",) * 5
    rates = [quantile(link.rates(way), 0.5) / 1e6 for way in ("up", "down")]
    share = "-" if compute.tasks is None else f"{compute.tasks.mean_s * 1e3:.2f}"
    return (
        f"{quantile(link.rtt_s, 0.5) * 1e3:.2f}",
        *(f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}" for rate in rates),
        f"{compute.flops_per_s / 1e9:.1f}",
        share,
    )
