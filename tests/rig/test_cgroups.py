"""What is written to the kernel's groups, in both versions, on a folder that looks like them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.lab.cgroups import Groups, GroupsV1, GroupsV2, enter, open_groups
from bench.lab.errors import MACHINE, RigError
from bench.lab.quota import Quota


@pytest.fixture(params=["v1", "v1-shared", "v2"])
def groups(request: pytest.FixtureRequest, tmp_path: Path) -> Groups:
    """Groups of a rig `top`, of which `node-1` was made."""
    if request.param == "v2":
        (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory\n")
    else:
        (tmp_path / ("cpu" if request.param == "v1" else "cpu,cpuacct")).mkdir()
        (tmp_path / "freezer").mkdir()
    made = open_groups("top", tmp_path)
    made.create("node-1")
    return made


def test_the_version_is_the_kernels(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "freezer").mkdir()
    assert isinstance(open_groups("top", tmp_path), GroupsV1)
    # A hybrid: v2 is mounted, but the controller is v1's.
    (tmp_path / "cgroup.controllers").write_text("hugetlb\n")
    assert isinstance(open_groups("top", tmp_path), GroupsV1)
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    assert isinstance(open_groups("top", tmp_path), GroupsV2)


def test_a_kernel_without_quotas_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="offers no processor quotas") as raised:
        open_groups("top", tmp_path)
    assert raised.value.status == MACHINE
    (tmp_path / "cpu").mkdir()  # without a freezer
    with pytest.raises(RigError, match="freezer"):
        open_groups("top", tmp_path)


def test_a_quota_is_what_was_set(groups: Groups) -> None:
    groups.limit("node-1", Quota(1000, 11112))
    assert groups.quota("node-1") == Quota(1000, 11112)


def test_v1_lifts_a_quota_in_its_own_word(tmp_path: Path) -> None:
    for name in ("cpu", "freezer"):
        (tmp_path / name).mkdir()
    groups = open_groups("top", tmp_path)
    groups.create("node-1")
    groups.limit("node-1", Quota(1000, 4000))
    groups.limit("node-1", None)
    assert (tmp_path / "cpu/top/node-1/cpu.cfs_quota_us").read_text() == "-1"
    assert groups.quota("node-1") is None


def test_v2_lifts_a_quota_in_its_own_word(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    groups = open_groups("top", tmp_path)
    groups.create("node-1")
    groups.limit("node-1", None)
    file = tmp_path / "top/node-1/cpu.max"
    assert file.read_text() == "max"
    file.write_text("max 100000\n")  # as the kernel reads it back
    assert groups.quota("node-1") is None


def test_v2_hands_the_controller_down(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    groups = open_groups("top", tmp_path)
    groups.create("host", 8)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu"
    assert (tmp_path / "top/cgroup.subtree_control").read_text() == "+cpu"
    assert (tmp_path / "top/host/cpu.weight").read_text() == "800"


def test_freezing(groups: Groups) -> None:
    groups.freeze("node-1", frozen=True)
    assert groups.is_frozen("node-1")
    groups.freeze("node-1", frozen=False)
    assert not groups.is_frozen("node-1")


def test_members_come_from_every_hierarchy_and_each_once(groups: Groups) -> None:
    assert groups.members("node-1") == []
    assert groups.members("no-such") == []
    for file in groups.entrances("node-1"):
        file.write_text("7\n12\n")
    assert groups.members("node-1") == [7, 12]


def test_whoever_enters_writes_its_number_everywhere(groups: Groups) -> None:
    enter(groups.entrances("node-1"), 41)
    assert groups.members("node-1") == [41]


def test_entering_what_is_not_there_is_said(groups: Groups) -> None:
    with pytest.raises(RigError, match="process 41 cannot enter"):
        enter(groups.entrances("no-such"), 41)


def test_groups_are_found_without_a_record(groups: Groups) -> None:
    groups.create("host-kernels")
    assert groups.names() == ["host-kernels", "node-1"]
    assert all(folder.name == "top" for folder in groups.folders())
