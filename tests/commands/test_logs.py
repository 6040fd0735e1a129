from __future__ import annotations

import json

from cocoi_cli.commands import logs_work
from cocoi_cli.console import Console
from cocoi_cli.fleet.logs import LogLine


def shown(capsys) -> list[str]:
    return [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]


def test_lines_that_were_held_come_in_the_order_of_their_time(capsys):
    show = logs_work._Shower(Console(json=True), 4)
    with show.held():
        show(LogLine("pi-1", 3.0, 6, "third"))
        show(LogLine("pi-2", 1.0, 6, "first"))
        show(LogLine("pi-1", 2.0, 6, "second"))
        assert shown(capsys) == []
    assert shown(capsys) == ["first", "second", "third"]
    show(LogLine("pi-1", 0.5, 6, "at once"))
    assert shown(capsys) == ["at once"]


def test_a_question_while_lines_are_held_does_not_let_them_go(capsys):
    show = logs_work._Shower(Console(json=True), 4)
    with show.held():
        with show.held():
            show(LogLine("pi-1", 1.0, 6, "kept"))
        assert shown(capsys) == []
    assert shown(capsys) == ["kept"]
