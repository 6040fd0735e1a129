"""The generator of road sign pictures is a pure function of its seed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(scope="module")
def signs(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("signs")


def test_the_same_seed_and_label_give_the_same_picture(signs: ModuleType) -> None:
    for label in range(len(signs.LABELS)):
        once, again = signs.render(5, label, 48), signs.render(5, label, 48)
        assert once.mode == "RGB"
        assert once.size == (48, 48)
        assert once.tobytes() == again.tobytes()


def test_every_label_and_every_seed_gives_another_picture(signs: ModuleType) -> None:
    labels = range(len(signs.LABELS))
    pictures = {signs.render(seed, label, 32).tobytes() for seed in range(3) for label in labels}
    assert len(pictures) == 3 * len(signs.LABELS)


def test_there_are_enough_labels_and_each_only_once(signs: ModuleType) -> None:
    assert len(set(signs.LABELS)) == len(signs.LABELS) >= 12


def test_an_unknown_label_is_refused(signs: ModuleType) -> None:
    with pytest.raises(IndexError):
        signs.render(0, len(signs.LABELS), 32)


def test_a_seed_gives_the_same_scene_at_every_size(signs: ModuleType) -> None:
    for seed in range(6):
        small = np.asarray(signs.render(seed, seed, 64).reduce(8), np.float32).ravel()
        large = np.asarray(signs.render(seed, seed, 192).reduce(24), np.float32).ravel()
        assert np.corrcoef(small, large)[0, 1] > 0.95, seed


def test_faces_of_one_paint_differ_from_each_other(signs: ModuleType, script: Callable[[str], ModuleType]) -> None:
    faces = script("faces")
    paint = faces.mix_paint(np.random.default_rng(1))
    drawn = {label: np.asarray(faces.draw_face(label, paint, 64)[0], np.float32) for label in signs.LABELS}
    for index, label in enumerate(signs.LABELS):
        for other in signs.LABELS[:index]:
            assert np.abs(drawn[label] - drawn[other]).mean() > 3, (label, other)


def test_signs_hang_within_the_picture_but_for_a_turned_corner(signs: ModuleType) -> None:
    for seed in range(300):
        pose = signs.camera.strike_pose(np.random.default_rng(seed))
        where = signs.camera.corners(pose, 100, 100)
        assert where.min() > -15, seed
        assert where.max() < 115, seed


def test_the_homography_takes_the_corners_of_the_picture_back_to_those_of_the_sign(signs: ModuleType) -> None:
    pose = signs.camera.strike_pose(np.random.default_rng(3))
    target = signs.camera.corners(pose, 320, 260)
    source = np.array([(0, 0), (90, 0), (90, 90), (0, 90)], float)
    a, b, c, d, e, f, g, h = signs.camera.homography(source, target)
    for (x, y), expected in zip(target, source, strict=True):
        depth = g * x + h * y + 1
        assert ((a * x + b * y + c) / depth, (d * x + e * y + f) / depth) == pytest.approx(expected, abs=1e-6)


def test_training_validation_and_held_back_pictures_share_no_seed(signs: ModuleType) -> None:
    firsts = sorted(
        (signs.TRAINING, signs.VALIDATION, signs.HELD_BACK, *(seed for _, seed, *_ in signs.SAMPLES.values()))
    )
    assert firsts[0] == signs.TRAINING
    assert firsts[1] - firsts[0] >= 1_000_000
    assert firsts[2] - firsts[1] >= 1_000_000
    assert firsts[3] - firsts[2] >= 1_000_000


def test_examples_take_the_labels_in_turn_and_the_seeds_upwards(signs: ModuleType) -> None:
    count = len(signs.LABELS) + 2
    drawn = list(signs.examples(70, count, 24))
    assert [label for _, label in drawn] == [*range(len(signs.LABELS)), 0, 1]
    assert drawn[-1][0].tobytes() == signs.render(70 + count - 1, 1, 24).tobytes()


def test_the_shipped_samples_are_what_the_generator_writes(signs: ModuleType, repository: Path, tmp_path: Path) -> None:
    signs.write_samples(tmp_path)
    shipped = repository / "models" / "samples"
    assert json.loads((tmp_path / "expected.json").read_text()) == json.loads((shipped / "expected.json").read_text())
    for name in signs.SAMPLES:
        fresh, old = (np.asarray(Image.open(folder / name), np.float32) for folder in (tmp_path, shipped))
        assert fresh.shape == old.shape
        assert np.abs(fresh - old).mean() < 2, name  # Pillow's drawing may change a little between versions
