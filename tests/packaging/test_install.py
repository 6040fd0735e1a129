"""Every documented way of installing, with the wheels built as a stranger would build them."""

from __future__ import annotations

import email
import sysconfig
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.packaging.environments import Environment, build_wheel, link_packages

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

HERE = Path(sysconfig.get_paths()["purelib"])
SHIPPED = (
    *("data/models/roadsigns.onnx", "data/models/samples/stop.png"),
    *("data/systemd/cocoi-agent.service", "data/systemd/cocoi-agent-user.service", "data/requirements/agent.txt"),
)


@pytest.fixture(scope="module")
def host_wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(repository, tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def agent_wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(repository / "agent", tmp_path_factory.mktemp("agent"))


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


def test_the_host_wheel_holds_both_packages_and_what_is_shipped(host_wheel: Path) -> None:
    files = contents(host_wheel)
    assert {name.split("/")[0] for name in files} == {"cocoi_cli", "cocoi_agent"}
    for name in SHIPPED:
        assert files[f"cocoi_cli/{name}"], name
    assert "cocoi_cli/codes/parity_tables.json" in files


def test_the_agent_wheel_holds_the_agent_as_the_host_has_it(host_wheel: Path, agent_wheel: Path) -> None:
    host, agent = contents(host_wheel), contents(agent_wheel)
    assert {name.split("/")[0] for name in agent} == {"cocoi_agent"}
    assert agent == {name: data for name, data in host.items() if name.startswith("cocoi_agent/")}


@pytest.mark.parametrize("way", ["wheel", "checkout", "editable"])
def test_an_installation_starts_and_finds_what_is_shipped(
    way: str, repository: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    ways: dict[str, Callable[[], tuple[str, ...]]] = {
        "wheel": lambda: (str(request.getfixturevalue("host_wheel")),),
        "checkout": lambda: (str(repository),),
        "editable": lambda: ("--editable", str(repository)),
    }
    environment = Environment(tmp_path / "venv", visible=HERE)
    environment.install(*ways[way]())

    names = "shipped_model", "shipped_samples", "unit_file", "agent_requirements"
    found = environment.run("-c", f"from cocoi_cli.shipped import *\nfor f in {', '.join(names)}: print(f())").split()

    model, samples, unit, requirements = map(Path, found)
    home = repository if way == "editable" else environment.packages
    assert all(path.is_relative_to(home) for path in (model, samples, unit, requirements))
    assert model.read_bytes() == (repository / "models" / "roadsigns.onnx").read_bytes()
    assert {path.name for path in samples.iterdir()} == {
        path.name for path in (repository / "models/samples").iterdir()
    }
    assert "[Unit]" in unit.read_text(encoding="utf-8")
    assert "onnxruntime==" in requirements.read_text(encoding="utf-8")
    # What a device gets is made of the installed package, without a build backend or a checkout.
    wheel = "from cocoi_cli.fleet.agent_wheel import agent_wheel; print(agent_wheel().name)"
    assert environment.run("-c", wheel).startswith("cocoi_agent-")
    assert "infer" in environment.run("-m", "cocoi_cli", "--help")
    assert (environment.folder / "bin" / "cocoi").exists()


def test_the_agent_installs_and_starts_alone(agent_wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(agent_wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        facts = email.message_from_bytes(archive.read(name))
    needed = facts.get_all("Requires-Dist") or []
    assert {line.split(">")[0].split("=")[0].strip() for line in needed} == {"msgpack", "numpy", "onnxruntime"}
    link_packages(needed, tmp_path / "packages")
    environment = Environment(tmp_path / "venv", visible=tmp_path / "packages")
    environment.install(str(agent_wheel))

    environment.run(
        "-c",
        "import importlib, pkgutil, cocoi_agent\n"
        "for m in pkgutil.walk_packages(cocoi_agent.__path__, 'cocoi_agent.'):\n"
        "    m.name.endswith('__main__') or importlib.import_module(m.name)",
    )
    absent = environment.run(
        "-c",
        "from importlib.util import find_spec\n"
        "for name in ('asyncssh', 'cocoi_cli', 'onnx', 'rich', 'typer'): print(find_spec(name))",
    )
    assert absent.split() == ["None"] * 5
    assert "cocoi-agent" in environment.run(str(environment.folder / "bin" / "cocoi-agent"), "--help")
