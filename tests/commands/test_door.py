"""The door: whatever happens inside, the user gets a message, a hint and a documented status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from cocoi_agent import __version__
from cocoi_cli import __main__
from cocoi_cli.commands import infer


def environment(repository) -> dict[str, str]:
    paths = [str(repository), str(repository / "agent")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "80", "PYTHONWARNINGS": "error"}


def start(repository, *arguments, code=None):
    command = [sys.executable, *(["-c", code] if code else ["-m", "cocoi_cli"]), *arguments]
    return subprocess.run(command, env=environment(repository), capture_output=True, text=True, check=False)


def test_help_lists_commands_and_exit_statuses(repository):
    done = start(repository, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        "  infer  ",
        "  model  ",
        "  0  done",
        "  1  failed",
        "  2  usage",
        "  3  configuration",
        "  4  fleet",
    ):
        assert line in done.stdout
    for line in ("  5  cannot decode", " 70  a bug in cocoi", "130  interrupted"):
        assert line in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_help_imports_nothing_heavy(repository):
    heavy = ["numpy", "onnx", "onnxruntime", "PIL", "rich", "cryptography", "asyncio"]
    heavy += ["cocoi_cli.api", "cocoi_cli.model.load"]
    code = (
        "import sys; from cocoi_cli.__main__ import run; run(['infer', '--help']); run(['--help']);"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    assert start(repository, code=code).stderr.strip() == "[]"


def test_help_of_infer_names_every_option(repository):
    text = start(repository, "infer", "--help").stdout
    options = "--model --fleet --embedded --n --k --scheme --plan --transport --top --labels --preprocess --output"
    for option in [
        *options.split(),
        "--tolerance",
        "--deadline",
        "--no-fallback",
        "--trace",
        "--check",
        "--verify",
        "--kill",
        "--json",
        "--quiet",
    ]:
        assert f"{option} " in text


def test_version_is_that_of_the_agent_package(repository):
    assert start(repository, "--version").stdout == f"cocoi {__version__}\n"


def test_no_command_shows_the_help(repository):
    done = start(repository)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Commands:" in done.stderr


def test_a_mistyped_command_is_usage(cocoi):
    outcome = cocoi("infr")
    assert outcome.status == 2
    assert (
        outcome.err
        == "error: no such command `infr`. Did you mean `infer`?\nhint: `cocoi --help` shows how it is used\n"
    )
    assert cocoi("infr", "--json").document["error"] == "usage"


def test_an_unexpected_exception_is_a_bug_with_a_traceback(cocoi, signs, picture, monkeypatch):
    def broken(scheme, agents):
        raise ZeroDivisionError("one too many")

    monkeypatch.setattr(infer, "open_fleet", broken)
    outcome = cocoi("infer", picture(), "-m", signs)
    assert outcome.status == 70
    assert "Traceback (most recent call last)" in outcome.err
    assert "error: this is a bug in cocoi: ZeroDivisionError: one too many\nhint: " in outcome.err
    document = cocoi("infer", "red.png", "-m", signs, "--json").document
    assert (document["error"], document["details"]) == ("bug", {"exception": "ZeroDivisionError"})


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("plan nope", "`cocoi model list` names"),
        ("simulate nope --devices 3", "`cocoi model list` names"),
        ("bench signs.onnx --image nope", "`cocoi bench --help` says"),
        ("bench signs.onnx -o no/x.json", "`cocoi bench --help` shows"),
        ("plan signs.onnx --devices 3 -o no/x.toml", "`cocoi plan --help` shows"),
        ("simulate signs.onnx -o no/x.json", "`cocoi simulate --help` shows"),
        ("simulate signs.onnx --devices 3 --k 4", "`cocoi simulate --help` explains"),
        ("bench signs.onnx --embedded 2 --k 4", "`cocoi bench MODEL --embedded 4` starts more"),
        ("plan signs.onnx", "`cocoi plan MODEL --devices 10`"),
        ("model info signs.onnx/x", "`cocoi model list` names"),
    ],
)
def test_the_hint_is_about_the_command_that_was_typed(cocoi, signs, typed, hint):
    outcome = cocoi(*typed.split())
    assert outcome.status in (1, 2, 3, 4)
    assert hint in outcome.err.splitlines()[-1]
    assert "cocoi infer" not in outcome.err


def test_a_benchmark_that_is_ended_says_how_it_goes_on(cocoi, signs, monkeypatch):
    def ended(_):
        raise __main__.Terminated(signal.SIGTERM)

    monkeypatch.setattr("cocoi_cli.commands.bench_work.run", ended)
    outcome = cocoi("bench", signs, "-o", "out.json")
    assert outcome.status == 143
    assert outcome.err == (
        "error: ended by SIGTERM\nhint: what was measured is kept: the same command with `--resume` goes on with it\n"
    )


def test_an_interrupt_ends_with_130_and_closes_the_fleet(cocoi, fleet, signs, picture):
    fleet.fail_on = {"red.png": KeyboardInterrupt()}
    outcome = cocoi("infer", picture(), "-m", signs)
    assert outcome.status == 130
    assert "error: interrupted\n" in outcome.err
    assert fleet.closed


def test_a_reader_that_goes_away_is_no_traceback(repository):
    code = "from cocoi_cli import __main__; __main__.leave(__main__.run(['--help']))"
    command = [sys.executable, "-c", code]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command, env=environment(repository), stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("variable", ["NO_COLOR", None])
def test_colour_needs_a_terminal_and_obeys_no_color(monkeypatch, capsys, variable):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    if variable:
        monkeypatch.setenv(variable, "1")
    __main__.run(["infer", "nowhere.png"])
    assert ("\x1b[" in capsys.readouterr().err) == (variable is None)


def test_the_error_document_is_alone_on_stdout(repository):
    done = start(repository, "infer", "nowhere.png", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "no-such-file"
    assert done.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", [["model", "info", "signs.onnx"], ["model", "info", "signs.onnx", "--json"]])
def test_a_full_disk_behind_stdout_is_a_failure_and_no_bug(repository, signs, tmp_path, arguments):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "cocoi_cli", *arguments],
            env=environment(repository), cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    if "--json" not in arguments:
        assert "error: cannot write standard output: No space left on device" in done.stderr
