"""Scripts for devices: packing them for standard input, and reading what they say.

Nothing is written to the device: its Python reads the sources from standard input,
makes modules of them under their own names, and calls `main` of the last one. The
conversation is lines of JSON on standard output: `progress` any number of times, then
`result` or `failure`. Pure.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cocoi_cli.fleet.ondevice import common
from cocoi_cli.visible import one_line

Tree = dict[str, Any]

PACKAGE: Final = "cocoi_cli.fleet.ondevice"

# Runs on the device. `-I` and `-B` keep the user's environment out and bytecode off the disk.
_BOOT: Final = """\
import json, sys, types
stream = sys.stdin.buffer
head = json.loads(stream.readline())
for name in head["packages"]:
    package = types.ModuleType(name)
    package.__path__ = []
    sys.modules[name] = package
for name, size in head["modules"]:
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(stream.read(size), name, "exec"), module.__dict__)
common = sys.modules[head["common"]]
try:
    reply = module.main(json.loads(stream.read(head["request"])), stream)
except common.Failure as failure:
    common.say({"failure": {"code": failure.code, "message": failure.message, "details": failure.details}})
else:
    common.say({"result": reply})
"""

COMMAND: Final = ("-I", "-B", "-c", _BOOT)
"""Arguments of the device's Python; `pack` makes what it reads from standard input."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A script tells what it is doing."""

    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """A script has ended well."""

    reply: Tree


@dataclass(frozen=True, slots=True)
class ScriptFailure:
    """A script has ended with an expected failure; fields as in `ondevice.common.Failure`."""

    code: str
    message: str
    details: Tree


def pack(name: str, request: Tree, *helpers: str) -> bytes:
    """Bytes for the standard input of `python3 *COMMAND`; a payload may follow them.

    Args:
        name: Module of `cocoi_cli.fleet.ondevice` whose `main` is called.
        request: Its argument, JSON values.
        helpers: Further modules of the package that it imports, in the order of their imports.
    """
    sources = {f"{PACKAGE}.{each}": _source(f"{PACKAGE}.{each}") for each in ("common", *helpers, name)}
    body = json.dumps(request).encode()
    parents = [PACKAGE.rsplit(".", depth)[0] for depth in (2, 1)]
    head = {
        "packages": [*parents, PACKAGE],
        "modules": [[each, len(source)] for each, source in sources.items()],
        "common": common.__name__,
        "request": len(body),
    }
    return b"".join([json.dumps(head).encode(), b"\n", *sources.values(), body])


def read_line(line: bytes) -> Progress | Result | ScriptFailure | None:
    """One line of a script's standard output; None for anything that is not part of the conversation."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match document:
        case {"progress": str(text)}:
            return Progress(one_line(text))
        case {"result": dict(reply)}:
            return Result(reply)
        case {"failure": {"code": str(code), "message": str(message), "details": dict(details)}}:
            return ScriptFailure(code, message, details)
        case _:
            return None


def _source(module: str) -> bytes:
    spec = importlib.util.find_spec(module)
    assert spec is not None  # noqa: S101 - modules of this package
    assert spec.origin is not None  # noqa: S101 - they are files
    return Path(spec.origin).read_bytes()
