"""Every error class has a hint of its own, and every command in a hint exists."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
import typer.main

import cocoi_cli
from cocoi_cli import hints
from cocoi_cli.app import app
from cocoi_cli.errors import CocoiError, ModelError

# Values that steer a hint: each error is asked with none and with all of them.
DETAILS = {
    "path": "net.onnx",
    "what": "model",
    "model": "net",
    "asked": 9,
    "fault": "out-of-memory",
}
FAULTS = ("out-of-memory", "store-full", "anything")
COMMANDS = ("infer", "plan", "simulate", "bench", "model info", "deploy", "")


# What several commands refuse for the same reason.
SHARED = (
    "no-such-file", "unreadable-file", "output-not-writable", "bad-option", "usage", "unknown-scheme",
    "unknown-transport", "no-fleet", "too-few-agents", "bad-size", "ill-conditioned", "deadline",
)  # fmt: skip


def error_codes() -> set[str]:
    for module in pkgutil.walk_packages(cocoi_cli.__path__, "cocoi_cli."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    def below(kind):
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    ours = {kind for kind in below(CocoiError) if kind.__module__.startswith("cocoi_cli.")}
    return {CocoiError.code, *(kind.code for kind in ours)}


def words_of(pattern: str, folder: str) -> set[str]:
    """The first words of all calls of a name in the sources of a folder."""
    sources = [path.read_text() for path in (Path(cocoi_cli.__file__).parent / folder).rglob("*.py")]
    return {word for source in sources for word in re.findall(pattern + r'\(\s*"([a-z0-9-]+)"', source)}


# Failures that only a mistake of ours can cause.
OURS = {"bad-request", "not-staged", "not-configured", "not-current", "no-peer", "no-listen"}


def failures() -> set[str]:
    return words_of("Failure", "fleet/ondevice") - OURS


def findings() -> set[str]:
    return words_of("Finding", "fleet")


def hint_texts() -> list[str]:
    texts = [hints.FALLBACK, hints.USAGE, hints.BUG]
    for code in sorted(error_codes()):
        texts += [hints.for_code(code, details, each) or "" for details in ({}, DETAILS) for each in COMMANDS]
    texts += [hints.again(words, each) for words in ([], ["-o", "x.json"]) for each in COMMANDS]
    texts += [hints.for_code("agent-fault", {"fault": fault}) or "" for fault in FAULTS]
    texts += [hints.for_code(finding, details) or "" for finding in sorted(findings()) for details in ({}, DETAILS)]
    texts += [hints.for_code("device-failed", {"failure": failure}) or "" for failure in sorted(failures())]
    return texts


def test_every_error_has_a_hint_of_its_own():
    assert [code for code in sorted(error_codes()) if hints.for_code(code, {}) is None] == []


def test_every_finding_about_a_device_has_a_hint():
    assert len(findings()) > 30
    assert [code for code in sorted(findings()) if hints.for_code(code, {}) is None] == []


def test_every_failure_of_a_script_has_a_hint_of_its_own():
    general = hints.for_code("device", {})
    assert len(failures()) > 15
    assert [word for word in sorted(failures()) if hints.for_code("device-failed", {"failure": word}) == general] == []


def test_the_codes_of_the_documented_errors_have_hints():
    documented = (
        "no-such-file not-an-image truncated-image unsupported-operator external-data dynamic-size wrong-rank",
        "wrong-dtype bad-code ill-conditioned too-few-agents no-agents cannot-decode version",
        "out-of-memory check-failed output-not-writable store-full empty-directory bad-labels bad-preprocess",
        "agent-start-failed deadline",
    )
    assert [code for line in documented for code in line.split() if hints.for_code(code, {}) is None] == []


def test_an_unknown_code_gets_the_hint_of_its_family():
    class OddModelError(ModelError):
        code = "odd-model"

    assert hints.hint(OddModelError("odd")) == hints.for_code("model", {})


def test_a_code_without_family_gets_the_fallback():
    assert hints.for_code("never-heard-of", {}) is None
    assert hints.hint(CocoiError("odd")) == hints.FALLBACK


def test_every_command_and_option_in_a_hint_exists():
    root = typer.main.get_command(app)
    commands = {(): root}
    for name, command in root.commands.items():
        commands[name,] = command
        for below, inner in getattr(command, "commands", {}).items():
            commands[name, below] = inner
    for text in hint_texts():
        for quoted in re.findall(r"`cocoi ([^`]*)`", text):
            words = quoted.split()
            path = next(tuple(words[:length]) for length in (2, 1, 0) if tuple(words[:length]) in commands)
            assert path or words[0].startswith("-"), quoted
            known = {flag for option in commands[path].params for flag in option.opts} | {"--help", "-h"}
            assert [word for word in words if word.startswith("-") and word not in known] == [], quoted


@pytest.mark.parametrize("command", ["plan", "simulate", "bench"])
@pytest.mark.parametrize("code", SHARED)
def test_advice_is_about_the_command_that_was_typed(command, code):
    """Unless it lacks the options that are advised."""
    text = hints.for_code(code, {}, command)
    lacking = {"plan": "too-few-agents bad-size deadline", "simulate": "too-few-agents bad-size deadline"}
    assert ("`cocoi infer" in text) == (code in lacking.get(command, "").split())
    assert f"`cocoi {command}" in text or code in lacking[command].split()


def test_who_is_asked_without_a_command_speaks_of_inferences():
    assert hints.for_code("unknown-scheme", {}) == "`cocoi infer --help` lists the schemes"
    assert hints.for_code("bad-option", {}, "") == hints.USAGE


def test_a_model_and_another_file_that_are_not_there_are_told_apart():
    model = hints.for_code("no-such-file", {"path": "x", "what": "model"}, "bench")
    assert "cocoi model list" in model
    assert hints.for_code("no-such-file", {"path": "x", "what": "file"}, "bench").endswith(
        "`cocoi bench --help` says what may be named there"
    )


def test_an_interrupted_benchmark_goes_on_where_something_was_kept():
    assert "`--resume`" in hints.again(["bench", "-o", "x.json"], "bench")
    assert "kept" in hints.again(["bench", "--output=x.json"], "bench")
    assert "`cocoi bench -o OUT.json`" in hints.again(["bench"], "bench")
    assert hints.again(["plan", "x", "-o", "p.toml"], "plan") == "type the command again"
    assert "stays" in hints.again(["deploy"], "deploy")


def test_hints_stand_on_one_line_and_end_without_a_full_stop():
    for text in hint_texts():
        assert "\n" not in text
        assert not text.endswith(".")


def test_hints_are_found_nowhere_else():
    for name in ("cocoi_cli.errors", "cocoi_cli.model.images", "cocoi_cli.model.arrays"):
        assert "`cocoi " not in inspect.getsource(importlib.import_module(name))
