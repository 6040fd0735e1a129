"""The JSON document of a benchmark: every latency, and the figures that follow from them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cocoi_cli.benchmark.records import FORMAT, PROGRAM
from cocoi_cli.benchmark.summary import summarise
from cocoi_cli.views.json_form import plain

if TYPE_CHECKING:
    from cocoi_cli.benchmark.records import Run


def bench_document(run: Run, *, with_summaries: bool = True) -> dict[str, Any]:
    """A tree that `records.read_run` reads again; its `summaries` are for other readers.

    Args:
        run: The benchmark.
        with_summaries: False while it goes on: resampling takes longer than an inference.
    """
    return dict(
        plain(
            {
                "program": PROGRAM,
                "format": FORMAT,
                "made": run.made,
                "command": run.command,
                "complete": run.complete,
                "settings": asdict(run.settings),
                "conditions": dict(run.conditions),
                "standing": run.standing,
                "summaries": list(summarise(run)) if with_summaries else [],
                "cells": [asdict(cell) for cell in run.cells],
            }
        )
    )
