from __future__ import annotations

import re
from pathlib import Path

import pytest

from cocoi_cli.fleet import agent_wheel
from cocoi_cli.fleet.pins import RUNTIME, read_pins
from cocoi_cli.fleet.runtimes import DENIED, LOWEST, BadRuntimeError, check_runtime, known_bad


@pytest.mark.parametrize("version", ["1.21.0", "1.22.0", "1.21", "1.022.0"])
def test_refuses_what_is_known_to_break_with_its_reason_and_source(version: str) -> None:
    assert known_bad(version)
    with pytest.raises(BadRuntimeError, match=r"microsoft/onnxruntime#\d{5}") as caught:
        check_runtime(version)
    assert (caught.value.code, caught.value.exit_status) == ("bad-runtime", 2)
    assert str(caught.value).startswith(f"ONNX Runtime `{version}` is not for devices: it ")


@pytest.mark.parametrize("version", ["1.20.1", "1.21.1", "0.1", "1.22.00"])
def test_refuses_what_is_older_than_the_agent_can_use(version: str) -> None:
    with pytest.raises(BadRuntimeError):
        check_runtime(version)


@pytest.mark.parametrize(("asked", "meant"), [("1.22.1", "1.22.1"), ("1.31", "1.31.0"), ("2.0.0", "2.0.0")])
def test_gives_the_version_as_packages_are_named(asked: str, meant: str) -> None:
    assert check_runtime(asked) == meant
    assert known_bad(asked) is None


@pytest.mark.parametrize(
    "text",
    ["", "1", "banana", "1.31.1rc1", "1.31.1.post1", "v1.31.1", "1.31.1 --index x", "1..2", "१.31.1", "1.31.1\n"],
)
def test_refuses_what_is_no_version(text: str) -> None:
    assert known_bad(text) is None
    with pytest.raises(BadRuntimeError, match="it is no version number such as"):
        check_runtime(text)


def test_the_locked_runtime_is_allowed(repository: Path) -> None:
    pins = read_pins((repository / "requirements/agent.txt").read_text(encoding="utf-8"))
    (version,) = (pin.version for pin in pins if pin.name == RUNTIME)
    assert check_runtime(version) == version


def test_the_lowest_is_the_one_that_the_agent_asks_for() -> None:
    (needed,) = (line for line in agent_wheel.REQUIRES if line.startswith(RUNTIME))
    assert needed == f"{RUNTIME}>={'.'.join(map(str, LOWEST))}"


def test_each_denied_version_has_a_cause_that_can_stand_in_a_sentence() -> None:
    for cause in DENIED.values():
        assert re.fullmatch(r"it .*\(.*#\d+.*\)", cause)
