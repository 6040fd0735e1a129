"""Devices, files and announcements that mean harm, or talk nonsense: they harm nobody but themselves."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

from cocoi_agent.wire.messages import Fault
from cocoi_cli.console import Console
from cocoi_cli.fleet import (
    conversation,
    facts_tree,
    inventory,
    logs,
    probing,
    processes,
    profiler,
    remote,
    scripts,
    survey,
)
from cocoi_cli.fleet.conversation import Conversation
from cocoi_cli.fleet.deployed import RolledBackError
from cocoi_cli.fleet.doctor import repairs
from cocoi_cli.fleet.errors import CommandFailedError, CommandTimeoutError, ScriptFailedError
from cocoi_cli.fleet.findings import Finding
from cocoi_cli.fleet.installation import VersionPlan
from cocoi_cli.fleet.installer import Installer
from cocoi_cli.fleet.inventory import BadFleetFileError
from cocoi_cli.fleet.names import BadTargetError, address_fault, parse_target
from cocoi_cli.fleet.records import Device
from cocoi_cli.fleet.releases import settings
from cocoi_cli.runtime.link_errors import AgentFaultError, LinkError
from cocoi_cli.views.logs import line_document, line_text
from tests.fleet.fake_install import FACTS, FakeInstall
from tests.fleet.ssh_server import asynchronous, fake_device

DEEP = b"[" * 100_000
ESCAPE = "\x1b]0;owned\x07\x1b[2Jgone\r\x9b31m\u202e"
PI = Device("pi-1", "pi@127.0.0.1", "127.0.0.1")


def entry(**fields: object) -> bytes:
    return json.dumps({"__REALTIME_TIMESTAMP": "1700000000250000", "MESSAGE": "it listens", **fields}).encode()


# --- journals


@pytest.mark.parametrize(
    "line",
    [
        DEEP,
        b'{"MESSAGE": "x", "__REALTIME_TIMESTAMP": Infinity}',
        entry(__REALTIME_TIMESTAMP="9" * 4000),
        entry(__REALTIME_TIMESTAMP=-(10**30)),
        entry(MESSAGE=[300]),
        entry(MESSAGE=["a"]),
        entry(MESSAGE={"a": 1}),
    ],
)
def test_a_journal_entry_of_nonsense_is_no_line(line: bytes) -> None:
    assert logs.parse(line, "pi", 0.0) is None


@pytest.mark.parametrize("priority", ["²", "99", "-1", 4.5, None, [4], "9" * 5000])
def test_an_entry_with_any_priority_can_be_shown(priority: object) -> None:
    line = logs.parse(entry(PRIORITY=priority), "pi", 0.0)
    assert line is not None
    assert line_text(line, 4, color=True)
    assert line_document(line)["message"] == "it listens"


def test_a_journal_writes_nothing_but_its_own_line() -> None:
    for message in (f"a{ESCAPE}\n2026-11-21 12:00:00.000  shelf  all is well\u2028x", list(b"\x1b[2Ja\nb")):
        line = logs.parse(entry(MESSAGE=message), "pi", 0.0)
        assert line is not None
        shown = line_text(line, 2, color=False)
        assert shown.isprintable()
        assert len(shown.splitlines()) == 1
    long = logs.parse(entry(MESSAGE=None), "pi", 0.0)  # journalctl's word for a field of more than 4096 bytes
    assert long is not None
    assert "too long" in long.text
    tabbed = logs.parse(entry(MESSAGE="a\tb"), "pi", 0.0)
    assert tabbed is not None
    assert tabbed.text == "a\tb"


# --- what is shown


@pytest.mark.parametrize("way", ["result", "note", "warning"])
def test_nothing_that_a_device_says_steers_the_terminal(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    getattr(Console(), way)(f"`pi`: {ESCAPE}\n\tsecond line \x1b[1;31mred\x1b[0m")
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert text.count("\x1b") == 2  # colours alone are harmless, and ours
    assert "\x1b[1;31mred\x1b[0m" in text
    assert not set("\x07\r\x9b\u202e") & set(text)
    assert "\n" in text.strip()
    assert "\t" in text


def test_a_table_of_what_a_device_says_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(box=None)
    table.add_column("device")
    table.add_row(Text(f"pi {ESCAPE}"))
    Console().print_result(table)
    assert not set("\x1b\x07\r\x9b\u202e") & set(capsys.readouterr().out)


def test_what_an_agent_calls_itself_is_one_line_without_tricks() -> None:
    """`status --watch` and the progress of an inference draw by themselves."""
    fault = Fault("busy", f"no {ESCAPE}\nerror: x")
    for error in (
        LinkError("pi", "10.0.0.1:1", f"agent `{ESCAPE}` answers"),
        AgentFaultError("pi", "10.0.0.1:1", fault),
    ):
        assert error.message.isprintable()
        assert error.cause.isprintable()


def test_progress_of_a_device_is_one_line_without_tricks() -> None:
    told: list[str] = []
    talk = Conversation(told.append)
    talk.feed(json.dumps({"progress": f"at work {ESCAPE}\nerror: x"}).encode() + b"\n")
    assert len(told) == 1
    assert told[0].isprintable()


# --- what it answers


def test_answers_of_nonsense_are_no_part_of_the_conversation() -> None:
    assert scripts.read_line(DEEP) is None
    assert scripts.read_line(b'{"result": ' + b"9" * 5000 + b"}") is None


@asynchronous
async def test_a_device_that_never_stops_talking_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MOST_OUTPUT", 1 << 20)
    monkeypatch.setattr(conversation, "MOST_LINE", 1 << 20)
    async with fake_device(tmp_path) as pi, pi.connected() as there:
        (pi.folder / "bin" / "talker").write_text("#!/bin/sh\nyes | tr -d '\\n'\n")
        (pi.folder / "bin" / "talker").chmod(0o755)
        with pytest.raises(CommandFailedError, match="more than 1048576 bytes"):
            await there.run("yes", timeout_s=60)
        with pytest.raises(CommandFailedError, match="a line has more than 1048576 bytes"):
            await there.script("facts", {}, python="talker", timeout_s=60)
        async with aclosing(there.lines("yes | tr -d '\\n'")) as lines:
            with pytest.raises(CommandFailedError, match="a line has more than"):
                await anext(lines)
        with pytest.raises(CommandTimeoutError):
            await there.run("yes >&2", timeout_s=0.5)
        assert (await there.run("echo still here")).stdout == b"still here\n"


def test_a_line_without_end_is_not_kept() -> None:
    talk = Conversation(None)
    for _ in range(conversation.MOST_LINE // 65536):
        talk.feed(b"x" * 65536)
    with pytest.raises(conversation.TooLongError):
        talk.feed(b"x")


def test_only_the_end_of_complaints_is_kept() -> None:
    tail = processes.Tail()
    for number in range(100_000):
        tail.take(b"%d complaint\n" % number)
    assert len(bytes(tail)) <= 2 * processes.Tail.MOST
    assert bytes(tail).endswith(b"99999 complaint\n")


NONSENSE: list[Any] = [
    {},
    {"current": 1},
    {"versions": None},
    {"versions": [{"id": "a"}]},
    {"versions": [{"id": "a", "complete": True, "confirmed": True, "more": 1}]},
    {"unit": []},
    {"unit": {"active": "active"}},
    {"leftovers": 3},
    {"wheels": [1]},
]


@pytest.mark.parametrize("change", NONSENSE)
def test_an_inspection_of_nonsense_is_an_error_of_that_device(change: dict[str, Any]) -> None:
    class Liar:
        device = PI

        async def script(self, *_: object, **__: object) -> dict[str, Any]:
            return {**FakeInstall().inspect({}), **change} if change else {}

    with pytest.raises(ScriptFailedError) as caught:
        asyncio.run(Installer(Liar()).inspect())
    assert caught.value.details["failure"] == "bad-answer"


@pytest.mark.parametrize("op", ["stage", "configure", "switch", "confirm", "undo", "remove"])
def test_an_empty_answer_of_the_installer_is_an_error_of_that_device(op: str) -> None:
    class Liar:
        device = PI

        async def script(self, *_: object, **__: object) -> dict[str, Any]:
            return {}

    installer = Installer(Liar())
    arguments: dict[str, tuple[Any, ...]] = {
        "stage": (VersionPlan("a", "python3", "", (), "", False, {}),),
        "configure": ({},),
        "switch": ("a", "b"),
        "confirm": ("a",),
    }
    with pytest.raises(ScriptFailedError):
        asyncio.run(getattr(installer, op)(*arguments.get(op, ())))


@pytest.mark.parametrize(
    "change",
    [
        {"interpreters": [{"version": 5}]},
        {"interpreters": [{"version": {"a": 1}}, {"version": ["3"]}]},
        {"interpreters": [{"path": "/usr/bin/python3", "version": [10**3000, 1]}]},
        {"hardware": {"memory": {"total": 10**4000}, "cores": 10**400}},
        {"condition": {"temperature_c": 10**400}},
        {"clock": {"time": 10**400, "seconds": 1e308}},
        {"clock": {"time": float("nan"), "seconds": float("inf")}},
        {"hostname": f"pi{ESCAPE}\nx"},
        {"interfaces": [{"name": "eth0\nCOCOI_ID=x", "kind": "wired", "addresses": ["127.0.0.1"], "up": True}]},
    ],
)
def test_facts_of_nonsense_are_unknown(change: dict[str, Any]) -> None:
    facts = facts_tree.device_facts({**FACTS, **change}, asked=1.0, answered=2.0)
    assert "\n" not in repr(settings(PI, facts, "127.0.0.1", "tls")["COCOI_INTERFACE"])
    for value in settings(PI, facts, "127.0.0.1", "tls").values():
        assert value.isprintable()
    assert (facts.hostname or "").isprintable()
    assert all(each.text for each in facts.interpreters)
    assert (facts.memory_total or 0) / 1e6 < 1e18
    assert abs(facts.clock_offset_s) < 1e18


def test_a_failure_may_call_its_details_what_it_likes() -> None:
    cause = ScriptFailedError("pi", "switch", "no", reason="x", failure="start-failed", message_="y")
    error = RolledBackError("pi", cause, None)
    assert error.code == "rolled-back"


@pytest.mark.parametrize("told", ["port ²", "port 70000", "port 0", "port " + "9" * 5000])
def test_a_probe_that_names_no_port_is_not_connected_to(told: str) -> None:
    class Liar:
        device = PI

        async def script(self, *_: object, on_progress: Any, **__: object) -> dict[str, Any]:
            on_progress(told)
            return {}

    with pytest.raises(probing._BlockedError):
        asyncio.run(probing._direct(Liar(), "127.0.0.1", 1, lambda _: None))  # type: ignore[arg-type]


def test_measurements_of_nonsense_are_a_gap() -> None:
    good = {"runtime": "1", "skipped": 0, "convolutions": [], "passes": {}, "tls": {}}
    assert profiler.compute_record(good).runtime == "1"
    for change in (
        {"convolutions": 3},
        {"convolutions": [{"cell": [1], "seconds": []}]},
        {"passes": {"a": {"size": 1, "seconds": ["x"]}}},
        {"passes": {"a": {"size": 1, "seconds": [10**400, float("nan")]}}},
        {"tls": {"a": {"size": 10**400, "seconds": [1.0]}}},
        {"skipped": None},
    ):
        with pytest.raises(ValueError, match="makes no sense"):
            profiler.compute_record({**good, **change})


def test_a_repair_quotes_what_a_device_called_its_things() -> None:
    wifi = Finding("wifi-power-save", "warning", "", "safe", {"interface": "w;reboot"})
    left = Finding("test-left", "warning", "", "safe", {"folder": "/run/$(reboot) x"})
    for finding in (wifi, left):
        (repair,) = repairs(PI, [finding])
        assert "'w;reboot'" in repair.command or "'/run/$(reboot) x/cocoi-agent-test.service'" in repair.command


# --- fleet files, imports, announcements


@pytest.mark.parametrize(
    "text",
    [
        "$(touch${IFS}owned)",
        "pi@a;b",
        "pi@a|b",
        "pi@a&b",
        "pi@a>b",
        "pi@a\\b",
        "pi@{a}",
        "$(id)@shelf",
        "a;b@shelf",
        "a|b@shelf",
        "a&b@shelf",
        "pi@fe80::1%$(touch x)",
        "pi@[fe80::1%a;b]:22",
        "pi@fe80::1%a b",
        "pi@a\x1b[2J",
        "p\x1b[2J@a",
        "pi@a\x00b",
    ],
)
def test_a_target_that_a_shell_would_take_for_more_is_none(text: str) -> None:
    """A `ProxyCommand` or `Match exec` of the user's with `%h` or `%r` hands it to a shell."""
    with pytest.raises(BadTargetError):
        parse_target(text)


def test_accounts_with_unusual_names_stay_targets() -> None:
    for text in ("DOMAIN\\user@shelf", "me+pi@shelf", "me@corp.example@shelf", "user.name$@shelf", "a=b@shelf"):
        assert str(parse_target(text)) == text


def test_a_zone_is_the_name_of_an_interface() -> None:
    assert address_fault("fe80::1%enp3s0.100") is None
    assert address_fault("fe80::1%br-lan_2") is None
    for bad in ("fe80::1%a\nCOCOI_SECURITY=none", "fe80::1%a b", 'fe80::1%"', "fe80::1%"):
        assert address_fault(bad) is not None, bad


def test_a_link_local_address_gets_the_zone_of_the_device() -> None:
    """The fleet file's zone is an interface of this machine, and the device calls its own by another name."""
    tree = {**FACTS, "interfaces": [{"name": "eth0", "kind": "wired", "addresses": ["fe80::1"], "up": True}]}
    facts = facts_tree.device_facts(tree, asked=1.0, answered=2.0)
    found = settings(replace(PI, address="fe80::1%enp3s0"), facts, "fe80::1%enp3s0", "tls")
    assert found["COCOI_HOST"] == "fe80::1%eth0"


@asynchronous
async def test_names_that_nobody_answers_for_do_not_keep_an_address_from_being_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never = threading.Event()
    loop = asyncio.get_running_loop()
    stuck = [loop.run_in_executor(None, never.wait) for _ in range(64)]  # as many lookups as the pool has threads
    monkeypatch.setattr(survey, "RESOLVE_S", 0.5)
    try:
        assert await survey.resolve(PI) == ("127.0.0.1",)
        assert "::1" in await survey.resolve(replace(PI, address="::1"))
    finally:
        never.set()
        await asyncio.gather(*stuck)


@pytest.mark.parametrize(
    "text",
    [
        f"id = 'a'\nport = {'9' * 5000}",
        "id = 'a'\nx = " + "[" * 20_000,
        "id = 'a'\n" + "a." * 3000 + "b = 1",
        "id = 'a'\nx = " + "{a=" * 3000,
    ],
)
def test_a_fleet_file_beyond_all_measure_is_a_complaint(text: str) -> None:
    with pytest.raises(BadFleetFileError):
        inventory.read(text, Path("fleet.toml"))
