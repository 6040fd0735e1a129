"""The wheelhouse: right for the target, complete or an error, and without pip where nothing is missing."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from cocoi_cli.fleet import wheelhouse
from cocoi_cli.fleet.agent_wheel import REQUIRES, agent_wheel
from cocoi_cli.fleet.fetching import WheelFetchError
from cocoi_cli.fleet.pins import read_pins, requirement
from cocoi_cli.fleet.runtimes import BadRuntimeError
from cocoi_cli.fleet.targets import Target
from cocoi_cli.fleet.wheelhouse import CacheError, MissingWheelsError, Wheelhouse, fetch, requirement_lines
from tests.fleet.wheels import FILES, PINS, make_lock, make_wheel, script, sha256

BOOKWORM = Target((3, 11), "aarch64", (2, 36))
CHOSEN = [FILES[0], FILES[3], FILES[5], FILES[6]]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    for name in FILES:
        make_wheel(folder, name)
    return folder


@pytest.fixture(autouse=True)
def world(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip sees the index and nothing else; lock file and cache are the test's own."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("COCOI_CACHE", str(tmp_path / "cache"))
    make_lock(index, tmp_path / "agent.txt")
    monkeypatch.setattr(wheelhouse, "agent_requirements", lambda: tmp_path / "agent.txt")


@pytest.fixture(scope="module")
def filled(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache as it is after one fetch."""
    cache = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as patch:
        make_lock(index, cache / "agent.txt")
        patch.setattr(wheelhouse, "agent_requirements", lambda: cache / "agent.txt")
        for name, value in {"COCOI_CACHE": cache, "PIP_NO_INDEX": 1, "PIP_FIND_LINKS": index}.items():
            patch.setenv(name, str(value))
        asyncio.run(fetch(BOOKWORM))
    return cache / "wheels"


@pytest.fixture
def cached(filled: Path, tmp_path: Path) -> Path:
    """The folder of the set in the test's own, complete cache."""
    shutil.copytree(filled, tmp_path / "cache/wheels")
    (folder,) = (tmp_path / "cache/wheels").iterdir()
    return folder


@pytest.fixture
def no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever starts pip fails."""
    monkeypatch.setattr(sys, "executable", script(tmp_path / "no-pip", "echo ERROR: pip was started; exit 9"))


def names(house: Wheelhouse) -> list[str]:
    return [wheel.name for wheel in house.wheels]


def test_fetches_what_fits_the_device_and_writes_down_exactly_that(index: Path) -> None:
    told: list[str] = []
    house = asyncio.run(fetch(BOOKWORM, on_progress=told.append))
    assert names(house) == CHOSEN
    for wheel in house.wheels:
        assert wheel.path.read_bytes() == (index / wheel.name).read_bytes()
        assert (wheel.size, wheel.sha256) == (wheel.path.stat().st_size, sha256(index / wheel.name))
    assert house.size == sum((index / name).stat().st_size for name in CHOSEN)
    assert house.installer.name == "pip-26.3-py3-none-any.whl"
    lines = [f"{pin} --hash=sha256:{sha256(index / name)}" for pin, name in zip(PINS, CHOSEN, strict=True)]
    assert house.requirements.splitlines() == lines[:3]  # pip is carried, not installed
    agent = agent_wheel()
    assert requirement_lines(house, agent).splitlines() == [
        *lines[:3],
        f"cocoi-agent=={agent.name.split('-')[1]} --hash=sha256:{agent.sha256}",
    ]
    assert told[0] == "fetching numpy==2.4.6 for Python 3.11 on aarch64 with glibc 2.36 (1 of 4)"
    assert len(told) == 4
    folder = house.wheels[0].path.parent
    assert re.fullmatch(r"cp311-aarch64-glibc2\.36-[0-9a-f]{12}", folder.name)
    recorded = json.loads((folder / "index.json").read_text())["wheels"]
    assert {each["name"]: each["sha256"] for each in recorded} == {name: sha256(index / name) for name in CHOSEN}


@pytest.mark.usefixtures("no_pip")
@pytest.mark.parametrize("offline", [False, True])
def test_a_complete_cache_needs_no_pip(cached: Path, offline: bool) -> None:
    told: list[str] = []
    house = asyncio.run(fetch(BOOKWORM, offline=offline, on_progress=told.append))
    assert names(house) == CHOSEN
    assert {wheel.path.parent for wheel in house.wheels} == {cached}
    assert told == []


@pytest.mark.usefixtures("no_pip", "cached")
def test_another_kind_of_device_needs_wheels_of_its_own() -> None:
    target = Target((3, 13), "aarch64", (2, 41))
    with pytest.raises(MissingWheelsError) as caught:
        asyncio.run(fetch(target, offline=True))
    assert caught.value.missing == PINS
    assert str(caught.value).startswith(
        "not in the cache for Python 3.13 on aarch64 with glibc 2.41: `numpy==2.4.6`, `onnxruntime==1.31.1`, "
    )
    assert caught.value.code == "missing-wheels"


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [damage, truncate, Path.unlink])
def test_what_is_damaged_or_missing_is_fetched_again_and_nothing_else(cached: Path, index: Path, harm) -> None:
    harm(cached / CHOSEN[1])
    with pytest.raises(MissingWheelsError) as caught:
        asyncio.run(fetch(BOOKWORM, offline=True))
    assert caught.value.missing == ("onnxruntime==1.31.1",)
    told: list[str] = []
    house = asyncio.run(fetch(BOOKWORM, on_progress=told.append))
    assert told == ["fetching onnxruntime==1.31.1 for Python 3.11 on aarch64 with glibc 2.36 (1 of 1)"]
    assert house.wheels[1].path.read_bytes() == (index / CHOSEN[1]).read_bytes()


@pytest.mark.usefixtures("no_pip")
@pytest.mark.parametrize("text", [None, "", "[]", '{"wheels": [{"name": 1}]}'])
def test_locked_wheels_need_no_index_file(cached: Path, text: str | None) -> None:
    """The process was killed before it was written, or it is damaged: the hashes of the lock file suffice."""
    (cached / "index.json").unlink()
    if text is not None:
        (cached / "index.json").write_text(text)
    assert names(asyncio.run(fetch(BOOKWORM, offline=True))) == CHOSEN
    assert len(json.loads((cached / "index.json").read_text())["wheels"]) == 4


@pytest.mark.usefixtures("no_pip")
def test_what_a_killed_fetch_left_behind_is_removed(cached: Path) -> None:
    (cached / "partial-abc").mkdir()
    (cached / "partial-abc" / CHOSEN[0]).write_bytes(b"half")
    (cached / "numpy-1.0-py3-none-any.whl").write_bytes(b"of another lock")
    asyncio.run(fetch(BOOKWORM))
    assert sorted(path.name for path in cached.iterdir()) == sorted([".lock", "index.json", *CHOSEN])


def test_a_wheel_that_does_not_exist_for_the_device_is_named_with_the_words_of_pip() -> None:
    with pytest.raises(WheelFetchError) as caught:
        asyncio.run(fetch(Target((3, 11), "x86_64", (2, 36))))
    error = caught.value
    assert str(error) == (
        "cannot fetch `onnxruntime==1.31.1` for Python 3.11 on x86_64 with glibc 2.36: there is no such wheel"
    )
    assert (error.code, error.kind, error.exit_status) == ("wheel-not-fetched", "no-wheel", 1)
    assert "No matching distribution found for onnxruntime==1.31.1" in str(error.details["output"])
    with pytest.raises(MissingWheelsError) as offline:
        asyncio.run(fetch(Target((3, 11), "x86_64", (2, 36)), offline=True))
    assert "numpy==2.4.6" not in offline.value.missing  # what came before it is kept


def test_an_old_c_library_gets_no_wheel_that_it_cannot_load() -> None:
    with pytest.raises(WheelFetchError, match=r"`onnxruntime==1\.31\.1` .* glibc 2\.27: there is no such wheel"):
        asyncio.run(fetch(Target((3, 11), "aarch64", (2, 27))))


def test_a_wheel_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil").mkdir()
    for name in FILES:
        make_wheel(tmp_path / "evil", name, note="evil")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "evil"))
    with pytest.raises(WheelFetchError) as caught:
        asyncio.run(fetch(BOOKWORM))
    assert caught.value.kind == "hash"
    assert not [*(tmp_path / "cache").rglob("*.whl")]


def test_a_pip_that_brings_another_file_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = 'for last; do :; done; cp "$last" "$(dirname "$last")/numpy-2.4.6-py3-none-any.whl"'
    monkeypatch.setattr(sys, "executable", script(tmp_path / "pip", body))
    with pytest.raises(WheelFetchError, match=r"^cannot fetch .* which is another file$"):
        asyncio.run(fetch(BOOKWORM))


@pytest.mark.parametrize(
    ("output", "kind", "cause"),
    [
        ("OSError: [Errno 28] No space left on device", "disk-full", "no space left for the cache or for temporary"),
        ("/usr/bin/python3: No module named pip", "no-pip", "the Python that runs cocoi has no pip"),
        (
            "WARNING: Retrying after connection broken by NewConnectionError\\nERROR: No matching distribution found",
            "no-network",
            "no package index could be reached",
        ),
        (
            "WARNING: connection broken by NameResolutionError: ([Errno -2] Name or service not known)",
            "no-network",
            "no package index could be reached: name or service not known",
        ),
        ("ReadTimeoutError: Read timed out.", "no-network", "no package index could be reached"),
        ("note\\nERROR: first\\nERROR: last\\nhint: x", "failed", "last"),
        ("Killed", "failed", "Killed"),
        ("", "failed", "pip ended with status 3"),
    ],
)
def test_the_cause_is_told_in_a_few_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, kind: str, cause: str
) -> None:
    monkeypatch.setattr(sys, "executable", script(tmp_path / "pip", f"printf '{output}' >&2; exit 3"))
    with pytest.raises(WheelFetchError) as caught:
        asyncio.run(fetch(BOOKWORM))
    assert caught.value.kind == kind
    assert str(caught.value.details["cause"]).startswith(cause)
    assert caught.value.details["output"] == output.replace("\\n", "\n")


def test_another_runtime_is_fetched_alone_recorded_and_kept(
    cached: Path, index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[str] = []
    house = asyncio.run(fetch(BOOKWORM, runtime="1.27.0", on_progress=told.append))
    assert [text.split()[1] for text in told] == ["onnxruntime==1.27.0"]  # the others are those of the usual set
    assert names(house) == [CHOSEN[0], FILES[4], *CHOSEN[2:]]
    line = f"onnxruntime==1.27.0 --hash=sha256:{sha256(index / FILES[4])}"
    assert line in house.requirements.splitlines()
    folder = house.wheels[0].path.parent
    assert folder != cached

    monkeypatch.setattr(sys, "executable", script(tmp_path / "no-pip", "exit 9"))
    assert asyncio.run(fetch(BOOKWORM, runtime="1.27.0", offline=True)) == house
    damage(folder / FILES[4])
    with pytest.raises(MissingWheelsError) as caught:
        asyncio.run(fetch(BOOKWORM, runtime="1.27.0", offline=True))
    assert caught.value.missing == ("onnxruntime==1.27.0",)


@pytest.mark.usefixtures("no_pip")
def test_another_runtime_whose_hash_was_never_recorded_is_not_used(cached: Path) -> None:
    with pytest.raises(MissingWheelsError):
        asyncio.run(fetch(BOOKWORM, runtime="1.27.0", offline=True))
    (folder,) = set(cached.parent.iterdir()) - {cached}
    make_wheel(folder, FILES[4])
    with pytest.raises(MissingWheelsError) as caught:
        asyncio.run(fetch(BOOKWORM, runtime="1.27.0", offline=True))
    assert caught.value.missing == ("onnxruntime==1.27.0",)


@pytest.mark.usefixtures("no_pip")
def test_the_locked_runtime_by_name_is_the_usual_set(cached: Path) -> None:
    assert {wheel.path.parent for wheel in asyncio.run(fetch(BOOKWORM, runtime="1.31.1")).wheels} == {cached}


def test_a_runtime_that_is_known_to_break_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(BadRuntimeError):
        asyncio.run(fetch(BOOKWORM, runtime="1.21.0"))
    assert not (tmp_path / "cache").exists()


def test_two_at_once_fetch_once() -> None:
    told: list[str] = []

    async def main() -> tuple[Wheelhouse, Wheelhouse]:
        return await asyncio.gather(*(fetch(BOOKWORM, on_progress=told.append) for _ in range(2)))

    one, other = asyncio.run(main())
    assert one == other
    assert len(told) == 4


def test_given_up_it_ends_pip_and_lets_the_next_one_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "started")
    monkeypatch.setattr(sys, "executable", script(tmp_path / "pip", f"echo $$ >{tmp_path}/started; exec sleep 600"))

    async def main() -> int:
        task = asyncio.create_task(fetch(BOOKWORM))
        pid = int(await asyncio.to_thread((tmp_path / "started").read_text))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(MissingWheelsError):
            await fetch(BOOKWORM, offline=True)
        return pid

    with pytest.raises(ProcessLookupError):
        os.kill(asyncio.run(main()), 0)
    assert not [*(tmp_path / "cache").rglob("partial-*")]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(CacheError, match=f"cannot use the cache `{tmp_path}/cache/wheels/cp311-") as caught:
        asyncio.run(fetch(BOOKWORM))
    assert caught.value.code == "cache-unusable"


def test_the_shipped_lock_holds_what_the_agent_needs_and_pip(repository: Path) -> None:
    pins = read_pins((repository / "requirements/agent.txt").read_text(encoding="utf-8"))
    assert all(pin.hashes for pin in pins)
    found = {pin.name for pin in pins}
    assert {line.split(">")[0] for line in REQUIRES} | {"pip", "flatbuffers", "packaging", "protobuf"} <= found
    text = "".join(requirement(pin.name, pin.version, pin.hashes) for pin in pins)
    assert read_pins(text) == pins


@pytest.mark.parametrize("line", ["numpy", "numpy>=2", "numpy==2 ; python_version > '3'", "-r other.txt", "--index x"])
def test_a_lock_is_exact_versions_only(line: str) -> None:
    with pytest.raises(ValueError, match="pins no version"):
        read_pins(f"pip==26.3\n{line}\n")


def test_a_target_names_the_tags_that_its_c_library_can_load() -> None:
    assert BOOKWORM.platforms[0] == "manylinux_2_36_aarch64"
    assert BOOKWORM.platforms[-2:] == ("manylinux_2_17_aarch64", "manylinux2014_aarch64")
    assert len(BOOKWORM.platforms) == 21
    assert Target((3, 13), "x86_64", (2, 41)).platforms[0] == "manylinux_2_39_x86_64"
    assert Target((3, 13), "x86_64", (3, 0)).platforms[0] == "manylinux_2_39_x86_64"
    options = " ".join(BOOKWORM.pip_options)
    assert "--python-version 3.11 --abi cp311 --abi abi3 --abi none --platform manylinux_2_36_aarch64" in options
