from __future__ import annotations

import copy
import json

import pytest

from cocoi_cli.benchmark.records import read_run
from cocoi_cli.benchmark.schedule import Turn
from cocoi_cli.planning.fields import FieldError
from cocoi_cli.views.bench_document import bench_document
from cocoi_cli.views.json_form import json_text
from tests.benchmark import made_run as made


def document():
    return json.loads(json_text(bench_document(made.made_run())))


def test_a_run_survives_its_document():
    assert read_run(document()) == made.made_run()


def test_the_document_has_the_documented_fields_and_every_latency():
    tree = document()
    assert list(tree) == [
        "program", "format", "made", "command", "complete", "settings", "conditions", "standing", "summaries", "cells",
    ]  # fmt: skip
    cell = tree["cells"][0]
    assert set(cell) == {"model", "scenario", "row", "transport", "plan", "absent", "predicted_s", "samples"}
    assert set(cell["samples"][0]) == {
        "repetition", "latency_s", "error", "bytes_out", "bytes_in", "host_cpu_s", "used", "late", "cancelled",
        "living", "lost", "max_rel_error", "top1_equal", "faults", "stages_s", "note",
    }  # fmt: skip
    assert {"p50_s", "p95_s", "p99_s", "ratio", "bytes_out", "host_cpu_s", "late", "max_rel_error"} <= set(
        tree["summaries"][0]
    )
    assert {"models", "rows", "scenarios", "seed", "inferences", "devices"} <= set(tree["settings"])


def places(tree, path=()):
    """Every place in a document, as a path of keys."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from places(value, (*path, key))


def test_no_value_of_another_kind_is_read_as_something_else():
    whole = document()
    for cell in whole["cells"]:
        del cell["samples"][1:]
    del whole["cells"][1:]
    free = {"summaries", "conditions", "complete", "top1_equal"}  # for readers; any plain value is one
    tried = 0
    for path in places(whole):
        if free & set(path):
            continue
        tree = copy.deepcopy(whole)
        inner = tree
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = {"odd": {"odd": []}} if not isinstance(inner[path[-1]], dict) else 7.5
        with pytest.raises(FieldError):
            read_run(tree)
        tried += 1
    assert tried > 50


def test_another_program_or_format_is_refused():
    for change in ({"program": "other"}, {"format": 2}):
        with pytest.raises(FieldError):
            read_run(document() | change)


def test_a_run_knows_which_turns_were_taken():
    run = made.made_run(2)
    assert run.done("net", "none") == {
        Turn(each, row) for each in range(2) for row in ("auto", "uncoded", "round-robin")
    }
    assert run.done("other", "none") == frozenset()


def test_a_cell_is_made_once():
    run = made.made_run()
    count = len(run.cells)
    assert run.cell("net", "none", "auto") is run.cells[0]
    run.cell("net", "none", "new")
    run.cell("net", "none", "new")
    assert len(run.cells) == count + 1
