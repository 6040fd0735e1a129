"""In which order the rows of a repetition run, and every other draw of the benchmark. Pure.

Rows run in turns: each repetition runs every row once, in an order of its own, so that what changes on the
machine or the network hits all rows alike and no row always follows the same other one. All draws come from
the seed and the names of what they are for, so a benchmark that was cut off goes on with the same ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Turn:
    """One inference to make."""

    repetition: int
    row: str


def generator(seed: int, *words: str | int) -> np.random.Generator:
    """A generator for one purpose: equal seed and words, equal draws, on every machine."""
    text = "\0".join(str(word) for word in (seed, *words))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


def order(rows: Sequence[str], *, seed: int, model: str, scenario: str, repetition: int) -> tuple[str, ...]:
    """The rows of one repetition, shuffled."""
    places = generator(seed, "order", model, scenario, repetition).permutation(len(rows))
    return tuple(rows[place] for place in places)


def turns(
    rows: Sequence[str],
    *,
    seed: int,
    model: str,
    scenario: str,
    repetitions: int,
    done: Collection[Turn] = (),
) -> Iterator[tuple[int, tuple[Turn, ...]]]:
    """Repetitions that are left, each with the turns that it lacks, in order.

    Args:
        rows: Names of the rows.
        seed: Of the benchmark.
        model: Its name.
        scenario: Its name.
        repetitions: How many each row makes.
        done: Turns of an earlier, interrupted run.
    """
    for repetition in range(repetitions):
        shuffled = order(rows, seed=seed, model=model, scenario=scenario, repetition=repetition)
        missing = tuple(turn for row in shuffled if (turn := Turn(repetition, row)) not in done)
        if missing:
            yield repetition, missing
