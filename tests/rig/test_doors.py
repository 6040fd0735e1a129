"""The command lines where nothing is up: every error in one line, with advice, and its status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.lab import system
from bench.lab.bring_up import check_machine
from bench.lab.errors import MACHINE, RigError
from bench.lab.fault_words import _HANDLERS, WORDS
from bench.lab.measuring import PROBE_GFLOP, speed_of

PREFIX = "rignone"


def call(repository: Path, door: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(repository / "bench/lab" / door), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COCOI_RIG_PREFIX": PREFIX, **env},
    )


@pytest.mark.parametrize(
    ("door", "words", "message", "status"),
    [
        ("rig", ["status"], f"no rig `{PREFIX}` is up", 1),
        ("rig", ["fleet"], f"no rig `{PREFIX}` is up", 1),
        ("rig", ["--prefix", "No", "status"], "`No` is no prefix", 2),
        ("rig", ["up", "--cpu", "0"], "`0` is no share of a core", 2),
        ("rig", ["up", "--rate", "fast"], "`fast` is no rate", 2),
        ("rig", ["nope"], "`nope` is no command", 2),
        ("rig", [], "the following arguments are required: COMMAND", 2),
        ("rig", ["measure", "--seconds", "x"], "argument --seconds: invalid float value: `x`", 2),
        ("rig", ["up", "--nope"], "unrecognized arguments: --nope", 2),
        ("faults", ["names"], f"no rig `{PREFIX}` is up", 1),
        ("faults", ["slow", "node-1", "2"], f"no rig `{PREFIX}` is up", 1),
    ],
)
def test_what_cannot_be_done_is_said(repository, door, words, message, status) -> None:
    done = call(repository, door, *words)
    assert done.returncode == status, done
    error, hint = done.stderr.splitlines()
    assert error == f"error: {message}"
    assert hint.startswith("hint: ")
    assert done.stdout == ""


def test_speed_and_share_exclude_each_other(repository) -> None:
    done = call(repository, "rig", "up", "--cpu", "9", "--gflops", "10", "--nodes", "0")
    assert done.returncode == 2
    assert "not allowed with argument" in done.stderr


def test_another_system_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(RigError, match="the rig needs Linux") as raised:
        check_machine()
    assert raised.value.status == MACHINE


def test_whoever_is_not_root_is_told(monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(RigError, match="the rig needs root") as raised:
        check_machine()
    assert raised.value.text() == "error: the rig needs root\nhint: start it with `sudo`\n"


def test_a_missing_command_is_named_with_its_package(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(system, "_SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RigError, match="no `ip` on this machine") as raised:
        check_machine()
    assert raised.value.hint == "on Debian: apt-get install iproute2"


@pytest.mark.parametrize(
    ("door", "words"),
    [("faults", []), *(("rig", [word] if word else []) for word in ("", "up", "down", "status", "exec", "measure"))],
)
def test_help_fits_a_terminal(repository, door, words) -> None:
    done = call(repository, door, *words, "--help", COLUMNS="80")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_help_names_every_word(repository) -> None:
    listed = call(repository, "faults", "--help").stdout
    assert all(f"\n{word} " in listed for word in WORDS)
    assert set(_HANDLERS) == set(WORDS)


def test_figures_of_a_series() -> None:
    found = speed_of([0.1] * 98 + [0.2, 0.3])
    assert found.median_ms == pytest.approx(100)
    assert found.p99_ms == pytest.approx(300)
    assert found.gflops == pytest.approx(PROBE_GFLOP / 0.103)
    assert found.cv == pytest.approx(0.0223 / 0.103, rel=0.01)
    assert found.turns == 100


def test_the_probe_computes_what_is_counted() -> None:
    from bench.lab.probe import GFLOP  # noqa: PLC0415 - it imports numpy

    assert GFLOP == PROBE_GFLOP == pytest.approx(0.793, rel=1e-3)
