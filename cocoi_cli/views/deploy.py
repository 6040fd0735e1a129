"""What a deploy did, or would do, as a table and as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cocoi_cli.views.lines import plural, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from cocoi_cli.fleet.deployed import Deployed
    from cocoi_cli.fleet.wheelhouse import Wheelhouse

Tree = dict[str, Any]


def deploy_table(results: Mapping[str, Deployed], *, dry_run: bool) -> Table:
    """One row per device: the version, and what was done; one line of steps each."""
    from rich.text import Text  # noqa: PLC0415  (only when shown)

    from cocoi_cli.views.tables import plain_table  # noqa: PLC0415

    table = plain_table()
    table.add_column("device", no_wrap=True, overflow="ellipsis", max_width=20)
    table.add_column("version", no_wrap=True, overflow="ellipsis", max_width=24)
    if not dry_run:
        table.add_column("time", justify="right", no_wrap=True)
    table.add_column("to do" if dry_run else "done", overflow="fold")
    for name, result in results.items():
        steps = result.steps or (("nothing" if dry_run else "unchanged"),)
        took = [] if dry_run else [seconds(result.seconds)]
        table.add_row(Text(name), Text(result.version), *took, Text(", ".join(steps)))
    return table


def summary(results: Mapping[str, Deployed], devices: int, *, dry_run: bool) -> str:
    """One line over all devices."""
    changed = sum(result.changed for result in results.values())
    if dry_run:
        return f"{plural(changed, 'device')} of {devices} would change"
    same = len(results) - changed
    parts = [f"{changed} changed" if changed else "", f"{same} unchanged" if same else ""]
    failed = devices - len(results)
    parts.append(f"{failed} failed" if failed else "")
    return f"{plural(devices, 'device')}: " + ", ".join(part for part in parts if part)


def deployed_document(result: Deployed) -> Tree:
    """What happened on one device."""
    healthy = result.health
    return {
        "changed": result.changed,
        "install": result.install,
        "version": result.version,
        "previous": result.previous,
        "steps": list(result.steps),
        "notes": [{"code": note.code, "message": note.message} for note in result.notes],
        "seconds": result.seconds,
        "onnxruntime": None if healthy is None else healthy.onnxruntime,
        "compute_s": None if healthy is None else healthy.compute_s,
        "round_trip_s": None if healthy is None else healthy.round_trip_s,
    }


def fetched_document(house: Wheelhouse) -> Tree:
    """The wheels for one device."""
    return {
        "target": str(house.target),
        "bytes": house.size,
        "wheels": [{"name": wheel.name, "bytes": wheel.size, "sha256": wheel.sha256} for wheel in house.wheels],
    }
