"""The results of an earlier, interrupted benchmark, and the command line that repeats one."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cocoi_cli.benchmark.errors import BadResultsError, UnfinishedResultsError
from cocoi_cli.benchmark.records import read_run
from cocoi_cli.commands import bench
from cocoi_cli.model.inputs import reason
from cocoi_cli.planning.fields import FieldError

if TYPE_CHECKING:
    from cocoi_cli.benchmark.records import Run, Settings
    from cocoi_cli.commands.bench import Request

# What is in a command line that repeats a benchmark: the options that decide its figures.
_OPTIONS = (
    ("fleet", "--fleet"),
    ("embedded", "--embedded"),
    ("schemes", "--schemes"),
    ("scenarios", "--scenarios"),
    ("scenario_file", "--scenario-file"),
    ("faults", "--faults"),
    ("profile", "--profile"),
    ("host_gflops", "--host-gflops"),
    ("inferences", "--inferences"),
    ("warm_up", "--warm-up"),
    ("transport", "--transport"),
    ("tolerance", "--tolerance"),
    ("n", "--n"),
    ("k", "--k"),
    ("image", "--image"),
    ("seed", "--seed"),
    ("host_kernels", "--host-kernels"),
    ("dask", "--dask"),
    ("deadline", "--deadline"),
)


def resume(path: str, settings: Settings) -> Run:
    """The benchmark in a file, to go on with; the number of inferences may be another one.

    Raises:
        BadResultsError: If the file is unreadable, or of a benchmark with other settings.
    """
    try:
        found = read_run(json.loads(Path(path).read_text("utf-8")))
    except FieldError as error:
        raise BadResultsError(path, f"`{error.field}`: {error.cause}") from error
    except OSError as error:
        raise BadResultsError(path, reason(error)) from error
    except (ValueError, RecursionError, AttributeError) as error:
        raise BadResultsError(path, f"not JSON of a benchmark: {error}") from error
    for each in fields(settings):
        theirs, ours = getattr(found.settings, each.name), getattr(settings, each.name)
        if each.name != "inferences" and theirs != ours:
            raise BadResultsError(path, f"its `{each.name}` is {_short(theirs)}, and {_short(ours)} was asked for")
    found.settings = replace(found.settings, inferences=settings.inferences)
    found.complete = False
    return found


def refuse_unfinished(path: str) -> None:
    """See that nothing is lost: a file with an interrupted benchmark is not written over.

    Raises:
        UnfinishedResultsError: If it is one.
    """
    try:
        found = read_run(json.loads(Path(path).read_text("utf-8")))
    except (OSError, ValueError, RecursionError, AttributeError, FieldError):
        return  # absent, or something else
    if not found.complete:
        raise UnfinishedResultsError(path)


def command_line(request: Request) -> str:
    """What to type to measure the same again."""
    usual = bench.Request()
    words = ["cocoi", "bench", *request.models]
    for name, option in _OPTIONS:
        value = getattr(request, name)
        if value != getattr(usual, name):
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
