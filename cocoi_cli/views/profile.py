"""A profile as tables that fit 80 columns, as sentences, and as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from cocoi_cli.planning.profile import quantile, quantiles
from cocoi_cli.views.fits import fit_remarks, fits_document
from cocoi_cli.views.lines import plural, seconds, size
from cocoi_cli.views.tables import plain_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.table import Table

    from cocoi_cli.fleet.findings import Finding
    from cocoi_cli.fleet.profiler import Profiled
    from cocoi_cli.planning.profile import Compute, DeviceProfile, Samples

NONE = "-"


def devices_table(measured: Mapping[str, Profiled]) -> Table:
    """One row per device: what it is. Memory and disk are what is free there."""
    table = plain_table()
    table.add_column("device", no_wrap=True, overflow="ellipsis", min_width=8, max_width=16)
    table.add_column("model", no_wrap=True, overflow="ellipsis", min_width=8, max_width=20)
    for name in ("cores", "memory", "disk"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("system", no_wrap=True, overflow="ellipsis", min_width=7, max_width=9)
    table.add_column("Python", no_wrap=True)
    table.add_column("°C", justify="right", no_wrap=True)
    for name, each in measured.items():
        facts = each.facts
        heat, python = facts.condition.temperature_c, facts.python()
        disk = facts.disk("/opt") or facts.disk("/")
        table.add_row(
            Text(name),
            Text(_model(facts.model or facts.processor)),
            NONE if facts.cores is None else str(facts.cores),
            NONE if facts.memory_available is None else size(facts.memory_available),
            NONE if disk is None else size(disk.free),
            Text(facts.architecture or NONE),
            Text("none fit", style="red") if python is None else Text(python.text),
            NONE if heat is None else f"{heat:.0f}",
        )
    return table


def speeds_table(measured: Mapping[str, Profiled]) -> Table:
    """One row per device: its link (round trips as p50/p99), and one thread's speed."""
    table = plain_table()
    table.add_column("device", no_wrap=True, overflow="ellipsis", min_width=8, max_width=16)
    table.add_column("link", no_wrap=True, min_width=5)
    for name in ("rtt ms", "up MB/s", "down MB/s", "GFLOP/s", "TLS MB/s"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    for name, each in measured.items():
        style = "" if each.profile.valid else "yellow"
        table.add_row(Text(name, style=style), *map(Text, _speeds(each.profile)))
    return table


def outcome(each: Profiled) -> str:
    """One device in a line: what it measured."""
    link, compute = each.profile.link, each.profile.compute
    parts = []
    if link is not None and link.rtt_s:
        parts.append(f"rtt {seconds(quantile(link.rtt_s, 0.5))}")
        parts.append(f"{size(quantile(link.rates('up'), 0.5))}/s up")
    if compute is not None:
        parts.append(f"{compute.flops_per_s / 1e9:.1f} GFLOP/s")
    return ", ".join(parts) or "nothing measured"


def remarks(measured: Mapping[str, Profiled]) -> list[str]:
    """Sentences below the tables: what the figures do not mean, and what was not measured."""
    found: list[str] = []
    for name, each in measured.items():
        if not each.profile.valid:
            found.append(f"{name}: not its usual speed ({'; '.join(each.profile.reasons)}); marked as invalid")
        found += fit_remarks(name, each.profile)
        found += [f"{name}: {gap}" for gap in each.gaps]
        skipped = each.profile.compute.skipped if each.profile.compute else 0
        if skipped:
            found.append(f"{name}: too slow for {plural(skipped, 'shape')} of the grid within the time allowed")
        if ills := [finding.message for finding in each.findings if finding.severity != "note"]:
            found.append(f"{name}: {'; '.join(ills)}")
    return found


def profile_document(each: Profiled, advice: Callable[[str, Mapping[str, object]], str | None]) -> dict[str, Any]:
    """One device as JSON has it; the samples themselves are in the profile that is written."""
    profile, facts = each.profile, each.facts
    link, compute = profile.link, profile.compute
    return {
        "valid": profile.valid,
        "reasons": profile.reasons,
        "facts": dict(profile.facts) | {"machine_id": facts.machine_id, "memory_available": facts.memory_available},
        "conditions": profile.conditions,
        "disks": facts.disks,
        "interpreters": facts.interpreters,
        "interfaces": facts.interfaces,
        "clock_offset_s": profile.clock_offset_s,
        "clock_uncertainty_s": profile.clock_uncertainty_s,
        "link": None
        if link is None
        else {
            "through": link.through,
            "rtt_s": quantiles(link.rtt_s),
            "up_bytes_per_s": quantiles(link.rates("up")),
            "down_bytes_per_s": quantiles(link.rates("down")),
        },
        "compute": None if compute is None else _compute_document(compute),
        "fits": fits_document(profile),
        "findings": findings_document(each.findings, advice),
        "gaps": each.gaps,
    }


def findings_document(
    found: Sequence[Finding], advice: Callable[[str, Mapping[str, object]], str | None]
) -> list[dict[str, Any]]:
    """Findings as JSON has them."""
    return [
        {
            "code": each.code,
            "severity": each.severity,
            "message": each.message,
            "hint": advice(each.code, each.details),
            "fix": each.fix,
            "details": dict(each.details),
        }
        for each in found
    ]


def _compute_document(compute: Compute) -> dict[str, Any]:
    return {
        "onnxruntime": compute.runtime,
        "flops_per_s": compute.flops_per_s,
        "convolutions": len(compute.convolutions),
        "skipped": compute.skipped,
        "bytes_per_s": {name: each.rate for name, each in {**compute.passes, **compute.tls}.items()},
    }


def _speeds(profile: DeviceProfile) -> tuple[str, ...]:
    link, compute = profile.link, profile.compute
    kind = {"wireless": "Wi-Fi", "wired": "wired"}.get(str(profile.facts.get("interface_kind")), NONE)
    cells = ["ssh" if link is not None and link.through == "ssh" else kind]
    if link is None or not link.rtt_s:
        cells += [NONE] * 3
    else:
        cells += ["/".join(_milli(quantile(link.rtt_s, order)) for order in (0.5, 0.99))]
        cells += [_mega(quantile(link.rates("up"), 0.5)), _mega(quantile(link.rates("down"), 0.5))]
    if compute is None:
        return (*cells, NONE, NONE)
    return (*cells, f"{compute.flops_per_s / 1e9:.1f}", _mega(_tls(compute.tls)))


def _tls(rows: Mapping[str, Samples]) -> float:
    """Bytes per second of the slower direction of the faster cipher."""
    ciphers = {name.rpartition("-")[0] for name in rows}
    each = (
        min(samples.rate for name, samples in rows.items() if name.rpartition("-")[0] == cipher) for cipher in ciphers
    )
    return max(each, default=0.0)


def _mega(rate: float) -> str:
    return f"{rate / 1e6:.0f}" if rate >= 1e7 else f"{rate / 1e6:.1f}" if rate > 0 else NONE


def _milli(duration: float) -> str:
    return f"{duration * 1e3:.0f}" if duration >= 0.01 else f"{duration * 1e3:.2f}"


def _model(name: str | None) -> str:
    return (name or NONE).removeprefix("Raspberry ").replace(" Model ", " ").replace(" Rev ", " r")
