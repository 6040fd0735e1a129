"""How far a benchmark is: a bar on a terminal, a line per scenario in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.progress import TaskID


LONGEST: Final = 46  # columns of the words before the bar, which fits 80 with them


class SilentBench:
    """Says nothing; base of the others."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def total(self, inferences: int) -> None:
        """So many inferences are left."""

    def at(self, model: str, scenario: str, row: str) -> None:
        """What runs now; `row` is empty while a scenario is prepared."""

    def done(self, inferences: int = 1) -> None:
        """So many more are done."""


class PlainBench(SilentBench):
    """A line for every scenario that begins, with what was done until then."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._total = self._done = 0

    def total(self, inferences: int) -> None:
        """What the lines count to."""
        self._total = inferences

    def at(self, model: str, scenario: str, row: str) -> None:
        """Told where a scenario begins."""
        if not row:
            self._write(f"{model}, {scenario}: {self._done} of {self._total} inferences done")

    def done(self, inferences: int = 1) -> None:
        """Counted."""
        self._done += inferences


class LiveBench(SilentBench):
    """A bar over all inferences; it is gone at the end of the `with` block."""

    def __init__(self, console: Console) -> None:
        from rich.progress import (  # noqa: PLC0415  (terminals only)
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID = self._bar.add_task("starting", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def total(self, inferences: int) -> None:
        """The bar gets its length."""
        self._bar.update(self._task, total=inferences)

    def at(self, model: str, scenario: str, row: str) -> None:
        """The words before the bar."""
        text = f"{model[:16]}, {scenario[:12]}: {row or 'preparing'}"
        self._bar.update(self._task, description=text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")

    def done(self, inferences: int = 1) -> None:
        """The bar grows."""
        self._bar.advance(self._task, inferences)
