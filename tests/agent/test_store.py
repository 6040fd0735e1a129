"""Blobs on disk and in memory: one conformance suite, then what only a disk can suffer."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cocoi_agent.store import BadHashError, DiskStore, MemoryStore, MissingBlobError, Store, StoreFullError
from tests.agent.programs import digest_of

Make = Callable[[int], Store]


def blob(seed: int, size: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, size, dtype=np.uint8)


def put(store: Store, data: np.ndarray) -> str:
    digest = digest_of(data)
    store.put(digest, data)
    return digest


@pytest.fixture(params=["memory", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    return MemoryStore if request.param == "memory" else lambda limit: DiskStore(tmp_path / "store", limit)


def test_gives_back_what_was_put(make: Make) -> None:
    store, data = make(1000), blob(1)
    assert not store.has(digest_of(data))
    digest = put(store, data)
    assert store.has(digest)
    assert store.used_bytes == 100
    found = store.open(digest)
    assert found.tolist() == data.tolist()
    assert not found.flags.writeable


def test_an_empty_blob_is_a_blob(make: Make) -> None:
    store = make(1000)
    assert store.open(put(store, np.empty(0, np.uint8))).size == 0


def test_the_same_blob_is_kept_once(make: Make) -> None:
    store = make(1000)
    assert put(store, blob(1)) == put(store, blob(1))
    assert store.used_bytes == 100


def test_bytes_under_a_wrong_digest_are_refused(make: Make) -> None:
    store = make(1000)
    with pytest.raises(BadHashError) as caught:
        store.put("0" * 64, blob(1))
    assert caught.value.digest == "0" * 64
    assert store.used_bytes == 0


def test_what_is_absent_cannot_be_opened(make: Make) -> None:
    with pytest.raises(MissingBlobError, match="0" * 64):
        make(1000).open("0" * 64)


def test_drops_what_was_used_longest_ago(make: Make, tmp_path: Path) -> None:
    store = make(300)
    digests = [put(store, blob(seed)) for seed in range(3)]
    for age, digest in enumerate(digests):
        if isinstance(store, DiskStore):
            os.utime(tmp_path / "store" / digest, ns=(age, age))
    opened = store.open(digests[0])
    newest = put(store, blob(9))
    assert [store.has(digest) for digest in [*digests, newest]] == [True, False, True, True]
    assert store.used_bytes == 300
    put(store, blob(10, 300))
    assert store.used_bytes == 300
    assert opened.tolist() == blob(0).tolist()  # still valid although dropped


def test_a_blob_above_the_limit_is_refused_and_drops_nothing(make: Make) -> None:
    store = make(300)
    kept = put(store, blob(1))
    with pytest.raises(StoreFullError, match="301 bytes does not fit into a store of 300 bytes"):
        put(store, blob(2, 301))
    assert store.has(kept)


def test_a_restart_finds_everything_again(tmp_path: Path) -> None:
    digest = put(DiskStore(tmp_path, 1000), blob(1))
    again = DiskStore(tmp_path, 1000)
    assert again.used_bytes == 100
    assert again.open(digest).tolist() == blob(1).tolist()


def test_half_files_of_dead_processes_are_removed_at_the_start(tmp_path: Path) -> None:
    mine = tmp_path / f"incoming-{os.getpid()}-1"
    alive = tmp_path / f"incoming-{os.getppid()}-1"
    dead = tmp_path / "incoming-4194305-1"  # above the highest process id of Linux
    other = tmp_path / "notes.txt"
    for path in (mine, alive, dead, other):
        path.write_bytes(b"half")
    store = DiskStore(tmp_path, 1000)
    assert [path.exists() for path in (mine, alive, dead, other)] == [False, True, False, True]
    assert store.used_bytes == 0


@pytest.mark.parametrize("damage", [b"", b"x", b"y" * 100])
def test_a_damaged_file_is_missing_and_removed(tmp_path: Path, damage: bytes) -> None:
    digest = put(DiskStore(tmp_path, 1000), blob(1))
    (tmp_path / digest).write_bytes(damage)
    store = DiskStore(tmp_path, 1000)
    assert not store.has(digest)
    assert not (tmp_path / digest).exists()
    put(store, blob(1))
    assert store.open(digest).tolist() == blob(1).tolist()


def test_a_file_removed_by_another_agent_is_missing(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 1000)
    digest = put(store, blob(1))
    (tmp_path / digest).unlink()
    assert not store.has(digest)
    with pytest.raises(MissingBlobError):
        store.open(digest)
    put(store, blob(1))
    assert store.has(digest)


def test_a_full_disk_is_told_with_its_free_bytes_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = DiskStore(tmp_path, 1000)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreFullError, match="100 bytes does not fit into a disk with") as caught:
        put(store, blob(1))
    assert caught.value.free_bytes is not None
    assert list(tmp_path.iterdir()) == []
    assert store.used_bytes == 0
