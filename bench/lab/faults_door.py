"""The command line of `faults`. Light: it runs while devices are being measured, on the same cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.lab.cgroups import enter
from bench.lab.door import named_prefix, reported
from bench.lab.errors import usage
from bench.lab.fault_words import WORDS, Saboteur
from bench.lab.layout import KERNELS
from bench.lab.state import load, locked

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run `faults`; return its exit status."""
    return reported(lambda: _faults(list(arguments)))


def _faults(words: list[str]) -> int:
    if not words or words[0] in {"-h", "--help"}:
        print("usage: faults WORD [ARGUMENT ...]\n\nnames\nclear")
        print("\n".join(f"{word} {rest[0]}" for word, rest in WORDS.items()))
        print("host-kernels PID   (the coordinator's convolutions, under the rig's quota)")
        return 0 if words else 2
    prefix = named_prefix()
    state = load(prefix)
    if words == ["names"]:
        print("\n".join(state.rig.names))
        return 0
    if words[0] == "host-kernels":
        if len(words) != 2 or not words[1].isdecimal():
            raise usage("`host-kernels` is followed by the id of a process", "write `host-kernels PID`")
        enter(state.groups.entrances(KERNELS), int(words[1]))
        return 0
    with locked(prefix):
        Saboteur(load(prefix)).do(words)
    return 0
