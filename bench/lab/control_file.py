"""The file by which a running agent is told how to behave, without a word on its network.

The agent has it mapped: looking whether something has changed is reading one number from
memory, no system call, and nothing that would let go of the interpreter's lock.

    0   number of the version; odd while somebody writes
    4   length of the text
    8   the text, JSON: {"delay": "exp 0.5 1", "lie": "none"}
"""

from __future__ import annotations

import json
import mmap
import struct
from typing import TYPE_CHECKING, Final

from bench.lab.behaviour import Behaviour, parse_delay, parse_lie

if TYPE_CHECKING:
    from pathlib import Path

SIZE: Final = 1024

_HEAD: Final = struct.Struct("=II")
_VERSION: Final = struct.Struct("=I")


def make_control_file(path: Path) -> None:
    """Make it, with nothing asked for; one that is there stays, since an agent may have it mapped."""
    if not path.exists():
        path.write_bytes(bytes(SIZE))
        write_behaviour(path, Behaviour())


def write_behaviour(path: Path, behaviour: Behaviour) -> None:
    """Tell the agent how to behave from its next task on. One writer at a time."""
    text = json.dumps({"delay": behaviour.delay.text, "lie": behaviour.lie.text}).encode()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), SIZE) as data:
        (version,) = _VERSION.unpack_from(data)
        _VERSION.pack_into(data, 0, version | 1)
        data[_HEAD.size : _HEAD.size + len(text)] = text
        _HEAD.pack_into(data, 0, (version | 1) + 1, len(text))


class ControlReader:
    """The agent's side."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), SIZE, access=mmap.ACCESS_READ)
        self._seen = 0

    def news(self) -> Behaviour | None:
        """How to behave from now on; None where it was said before, or somebody is just saying it."""
        version, length = _HEAD.unpack_from(self._data)
        if version == self._seen or version % 2:
            return None
        text = self._data[_HEAD.size : _HEAD.size + length]
        if _VERSION.unpack_from(self._data)[0] != version:
            return None
        self._seen = version
        asked = json.loads(text)
        return Behaviour(parse_delay(asked["delay"].split()), parse_lie(asked["lie"].split()))
