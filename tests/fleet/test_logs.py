from __future__ import annotations

import json

from cocoi_cli.fleet import logs
from cocoi_cli.fleet.logs import LogLine
from cocoi_cli.views.logs import LEVELS, line_document, line_text


def entry(**fields: object) -> bytes:
    return json.dumps({"__REALTIME_TIMESTAMP": "1700000000250000", "MESSAGE": "it listens", **fields}).encode()


def test_a_line_is_dated_by_the_clock_of_the_host():
    line = logs.parse(entry(PRIORITY="4"), "pi", offset_s=10.0)
    assert line == LogLine("pi", 1699999990.25, 4, "it listens")


def test_what_is_no_entry_is_no_line():
    for text in (b"", b"-- No entries --", b"[]", b"{}", b'{"MESSAGE": "x"}', entry(__REALTIME_TIMESTAMP="soon")):
        assert logs.parse(text, "pi", 0.0) is None


def test_messages_of_bytes_and_strange_priorities_are_read():
    line = logs.parse(entry(MESSAGE=[104, 105, 255], PRIORITY="?"), "pi", 0.0)
    assert line is not None
    assert (line.text, line.priority) == ("hi�", 6)


def test_the_command_names_the_unit_of_the_install():
    assert "--unit=cocoi-agent" in logs.command("system", lines=5, since=None, follow=False)
    words = logs.command("user", lines=5, since="1 hour ago", follow=True)
    assert {"--user-unit=cocoi-agent", "--lines=5", "--since=1 hour ago", "--follow"} <= set(words)


def test_the_level_is_shown_where_it_matters():
    for priority, level in enumerate(LEVELS):
        line = LogLine("pi", 1700000000.0, priority, "text")
        assert (f"{level}: text" in line_text(line, 4, color=False)) == (priority <= 4)
        assert line_document(line)["level"] == level
    assert line_document(LogLine("pi", 1700000000.25, 6, "x"))["time"] == "2023-11-14T22:13:20.250000+00:00"


def test_names_are_set_in_a_column():
    shown = [line_text(LogLine(name, 0.0, 6, "text"), 5, color=False) for name in ("a", "abcde")]
    assert shown[0].index("text") == shown[1].index("text")
