from __future__ import annotations

import io
import re

from rich.console import Console

from cocoi_cli.views.device_progress import DeviceProgress, LiveDeviceProgress, PlainDeviceProgress


def test_a_pipe_gets_a_line_for_each_change():
    lines: list[str] = []
    with PlainDeviceProgress(lines.append) as progress:
        progress.contact("pi", "connect")
        progress.contact("pi", "sudo")  # stages of the contact itself are told by the work
        progress.stage("pi", "stage", "sending 8 wheels")
        progress.stage("pi", "stage", "sending 8 wheels")
        progress.stage("other", "stage", "sending 8 wheels")
        progress.done("pi", "unchanged")
    assert lines == [
        "pi: connect",
        "pi: stage: sending 8 wheels",
        "other: stage: sending 8 wheels",
        "pi: unchanged",
    ]


def test_a_terminal_keeps_one_line_per_device_and_nothing_afterwards():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    with LiveDeviceProgress(console, ["pi", "long-name"]) as progress:
        progress.stage("pi", "stage", "x" * 90)
        progress.stage("nobody", "stage")
        with progress.paused():
            screen.write("question?")
        progress.contact("long-name", "failed")
        progress.contact("pi", "done")
    shown = screen.getvalue()
    assert "question?" in shown
    assert "x" * 60 not in shown
    assert "\x1b[2K" in shown[shown.rindex("done") :]  # what stood there is erased


def test_what_was_written_during_a_pause_is_never_erased():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    with LiveDeviceProgress(console, ["pi", "other", "third"]) as progress:
        for device in ("pi", "other"):
            with progress.paused():
                screen.write(f"the key of {device}\nis it right? y\n")
    rows, row = [""], 0
    for part in re.findall(r"\x1b\[1A|\x1b\[2K|\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", screen.getvalue()):
        if part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            rows[row] = ""
        elif part == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        elif part[0] not in "\r\x1b":
            rows[row] = part  # every part begins a line here
    assert [text for text in rows if text] == [
        "the key of pi",
        "is it right? y",
        "the key of other",
        "is it right? y",
    ]


def test_silence_says_nothing():
    with DeviceProgress() as progress, progress.paused():
        progress.contact("pi", "connect")
        progress.contact("pi", "done")
        progress.contact("pi", "failed")
