"""What is being done on each device: one line each that changes on a terminal, plain lines in a pipe."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console
    from rich.live import Live
    from rich.progress import TaskID

    from cocoi_cli.console import Console as Output


class DeviceProgress:
    """Says nothing; base of the others, and a context manager."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def stage(self, device: str, stage: str, note: str = "") -> None:
        """A device is at a stage of its way; `note` says what is done just now."""

    def done(self, device: str, text: str) -> None:
        """A device is through, with this result."""

    def failed(self, device: str, text: str) -> None:
        """A device is given up; the error itself is shown elsewhere."""

    def contact(self, device: str, stage: str) -> None:
        """Only how contact with a device begins and ends, for work that tells of its stages itself."""
        if stage == "connect":
            self.stage(device, stage)
        elif stage == "failed":
            self.failed(device, "")
        elif stage == "done":
            self.done(device, "done")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the screen to somebody else, such as a question."""
        yield


class PlainDeviceProgress(DeviceProgress):
    """One line per device and stage, in the order in which they come."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._last: dict[str, tuple[str, str]] = {}

    def stage(self, device: str, stage: str, note: str = "") -> None:
        """A line, unless it would repeat the one before."""
        if self._last.get(device) != (stage, note):
            self._last[device] = (stage, note)
            self._write(f"{device}: {stage}: {note}" if note else f"{device}: {stage}")

    def done(self, device: str, text: str) -> None:
        """A line."""
        self._write(f"{device}: {text}")


class LiveDeviceProgress(DeviceProgress):
    """A line per device with a spinner; gone at the end of the `with` block."""

    def __init__(self, console: Console, devices: Sequence[str]) -> None:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415  (terminals only)

        self._bars = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.fields[name]}", markup=False),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        width = max((len(name) for name in devices), default=0)
        self._tasks: dict[str, TaskID] = {
            name: self._bars.add_task("waiting", total=None, name=name.ljust(width)) for name in devices
        }

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def stage(self, device: str, stage: str, note: str = "") -> None:
        """The device's line changes."""
        self._say(device, f"{stage}: {note}" if note else stage)

    def done(self, device: str, text: str) -> None:
        """The device's line stands still."""
        self._end(device, text)

    def failed(self, device: str, text: str) -> None:
        """The device's line stands still."""
        self._end(device, f"failed: {text}" if text else "failed")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the lines off the screen for a while; what is written meanwhile stays above them."""
        self._bars.stop()
        try:
            yield
        finally:
            # The display that was stopped still knows how high it was, and would erase that many
            # lines above the cursor: the fingerprint that was asked about, say.
            self._bars.live = self._display()
            self._bars.start()

    def _display(self) -> Live:
        from rich.live import Live  # noqa: PLC0415  (terminals only)

        return Live(console=self._bars.console, transient=True, get_renderable=self._bars.get_renderable)

    def _say(self, device: str, text: str) -> None:
        if device in self._tasks:
            self._bars.update(self._tasks[device], description=_cut(text))

    def _end(self, device: str, text: str) -> None:
        self._say(device, text)
        if device in self._tasks:
            self._bars.update(self._tasks[device], total=1, completed=1)


def device_progress(output: Output, devices: Sequence[str]) -> DeviceProgress:
    """The display that suits where standard error goes; questions take it off the screen."""
    if output.quiet:
        return DeviceProgress()
    if not output.terminal:
        return PlainDeviceProgress(output.note)
    progress = LiveDeviceProgress(output.rich(), devices)
    output.around_questions = progress.paused
    return progress


def _cut(text: str) -> str:
    return text if len(text) <= 52 else text[:51] + "…"
