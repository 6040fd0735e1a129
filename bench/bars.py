"""What is promised, and what each part of the benchmark found: one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Report = dict[str, Any]  # what a part wrote as JSON


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: What was measured.
        measured: The figure, in `unit`.
        bar: What it is held against; None where it only stands beside another.
        unit: Empty for a ratio.
        at_least: Whether more is better.
    """

    name: str
    measured: float
    bar: float | None = None
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None where there is none."""
        if self.bar is None:
            return None
        return self.measured >= self.bar if self.at_least else self.measured <= self.bar


def wire(report: Report) -> list[Row]:
    """Against raw blocking sockets on the same loopback."""
    plain, tls = report["ratios"]["cocoi/raw"], report["ratios"]["tls/raw"]
    return [
        Row("wire: processor time per byte, by raw sockets", plain["cpu_ns_per_byte"], 1.4),
        Row("wire: goodput, by raw sockets", plain["goodput_gb_per_s"], 0.7, at_least=True),
        Row("  with TLS: processor time per byte", tls["cpu_ns_per_byte"]),
        Row("  with TLS: goodput", tls["goodput_gb_per_s"]),
    ]


def agent(report: Report) -> list[Row]:
    """Against bare ONNX Runtime on the same strips in the same kind of session."""
    rows = []
    for name, row in report["layers"].items():
        rows.append(Row(f"agent: a share of {name} sent, by bare ONNX Runtime", row["sent_ratio"], 1.08))
        rows.append(Row("  until it has arrived at the host", row["ratio"]))
    memory = report["memory"]["rss_mb"] - report["memory"]["weights_mb"]
    return [*rows, Row("agent: memory at work, without weights", memory, 120, "MB")]


def codes(report: Report) -> list[Row]:
    """Against the convolution's own time, in the worst layer of VGG16 conv2_2 to conv4_3."""
    return [
        Row("codes (10,8): encode + decode one, by the conv", report["largest"]["percent"], 3, "%"),
        Row("  the same straight after emptied caches", report["largest"]["cold_percent"], unit="%"),
    ]


def startup(report: Report) -> list[Row]:
    """The door, the demo, a fresh agent."""
    rows = [
        Row("start: `cocoi --help`, by `import typer`", report["help_by_typer"], 1.5),
        Row("start: the demo until its answer", report["demo_s"], 5, "s"),
    ]
    if report["agent_mb"] is not None:
        rows.append(Row("start: memory of an agent before its first share", report["agent_mb"], 120, "MB"))
    return rows


def host(report: Report) -> list[Row]:
    """Processor time per frame beyond kernels and copies."""
    rows = []
    for name, figures in report.items():
        if "TLS" in name:
            rows.append(Row(f"  {name}", figures["us_per_frame"], unit="us"))
        else:
            rows.append(Row(f"host {name}: processor time per frame", figures["us_per_frame"], 100, "us"))
            rows.append(Row("  with what is left of kernels and copies", figures["all_us_per_frame"], unit="us"))
            rows.append(Row("  the same for each share, two frames or three", figures["all_us_per_share"], unit="us"))
    return rows


PARTS = {"wire": wire, "agent": agent, "codes": codes, "startup": startup, "host": host}
