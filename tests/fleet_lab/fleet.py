"""What most tests do with a fleet: add devices, deploy, ask for an answer that must be right."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fleet_lab.host import Done, Host
from tests.fleet_lab.lab import Lab

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURE = REPOSITORY / "models" / "samples" / "stop.png"
CURRENT = "/opt/cocoi/current"


class Fleet:
    """The devices that a host has in its fleet file, by the lab's numbers.

    Attributes:
        lab: The devices.
        host: Whose fleet it is.
    """

    def __init__(self, lab: Lab, host: Host) -> None:
        self.lab = lab
        self.host = host

    def devices(self) -> dict[str, dict[str, Any]]:
        """The devices of the fleet file by their names; empty if there is none."""
        path = self.host.fleet_file
        return dict(tomllib.loads(path.read_text()).get("devices", {})) if path.exists() else {}

    def name(self, device: int) -> str:
        """What the fleet calls it."""
        (name,) = [name for name, each in self.devices().items() if each["address"] == self.lab.address(device)]
        return name

    def names(self, devices: Sequence[int]) -> list[str]:
        """What the fleet calls them."""
        return [self.name(each) for each in devices]

    def add(self, *devices: int) -> Done:
        """Add those that the fleet does not have."""
        known = {each["address"] for each in self.devices().values()}
        targets = [self.lab.target(each) for each in devices if self.lab.address(each) not in known]
        return self.host.cocoi("fleet", "add", *targets, "--accept-new", "--yes").ok() if targets else EMPTY

    def deploy(self, *words: object, **options: Any) -> Done:
        """Deploy on all devices; it must succeed."""
        return self.host.cocoi("deploy", "--yes", *words, **options).ok()

    def right(self, *words: object) -> dict[str, Any]:
        """Infer a picture, demand the right answer from the agents, and return the document."""
        # By rule: of so small a model and so quick a host the planner would keep everything here.
        done = self.host.cocoi("infer", PICTURE, "--check", "--json", "--scheme", "coded", *words).ok()
        assert done.document["top1_equal"] is True, done
        assert done.document["outputs"]["logits"]["top"][0]["label"] == "stop", done
        return done.document

    def used(self, document: dict[str, Any]) -> set[str]:
        """Names of the agents whose answers were used."""
        return {each["id"] for each in document["agents"] if each["used"] > 0}

    def version(self, device: int) -> str:
        """Id of the version that is current there; empty if there is none."""
        return self.lab.root(device, f"readlink {CURRENT}", check=False).rpartition("/")[2]


EMPTY = Done((), 0, "", "", 0.0)


def other_unit(folder: Path, mark: str) -> Path:
    """A release that differs from the real one by a comment in its units, for `Host.start(patch=...)`."""
    path = folder / f"unit-{mark}.py"
    path.write_text(f"""\
import pathlib
import cocoi_cli.shipped

for name in ("unit_file", "user_unit_file"):
    if real := getattr(cocoi_cli.shipped, name, None):
        def marked(*words, real=real, name=name):
            path = pathlib.Path({str(folder)!r}, name + "-{mark}")
            path.write_text("# {mark}\\n" + real(*words).read_text())
            return path
        setattr(cocoi_cli.shipped, name, marked)
""")
    return path


def other_agent(folder: Path, mark: str, door: str) -> Path:
    """A release whose agent has another `main`, for `Host.start(patch=...)`.

    Args:
        folder: Where the patch is written.
        mark: Names it.
        door: Source of its `cocoi_agent.__main__`; the true one is `cocoi_agent.true_main` there.
    """
    path = folder / f"agent-{mark}.py"
    path.write_text(f"""\
import cocoi_cli.fleet.agent_wheel as wheel

def sources(package, real=wheel._sources):
    files = real(package)
    files["cocoi_agent/true_main.py"] = files["cocoi_agent/__main__.py"]
    files["cocoi_agent/__main__.py"] = {door!r}.encode()
    return files

wheel._sources = sources
""")
    return path
