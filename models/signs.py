"""Pictures of road signs, a pure function of a seed: the data on which the shipped classifier was trained.

    python models/signs.py --samples models/samples      writes the shipped sample pictures and their labels
    python models/signs.py --sheet sheet.png             writes one contact sheet to look at

No outside data, no fonts: the faces are drawn in `faces.py`, their surroundings in `scenery.py`, the photograph is
taken in `camera.py`. Needs Pillow and numpy only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import camera
import numpy as np
from faces import FACES, draw_face, mix_paint
from PIL import Image, ImageDraw
from scenery import draw_background, tint

if TYPE_CHECKING:
    from collections.abc import Iterator

LABELS: tuple[str, ...] = tuple(FACES)

# First seeds of three sets that never meet; picture i of a set has seed `first + i` and label `i modulo number of
# labels`.
TRAINING, VALIDATION, HELD_BACK = 1_000_000, 2_000_000, 3_000_000

# The shipped samples: file → (label, seed, width, height). Larger than the network's input and mostly not square.
SAMPLES: dict[str, tuple[str, int, int, int]] = {
    "stop.png": ("stop", 4_000_000, 320, 260),
    "yield.jpg": ("yield", 4_000_006, 400, 300),
    "speed-50.jpg": ("speed-50", 4_000_004, 300, 400),
    "roundabout.jpg": ("roundabout", 4_000_008, 360, 270),
    "pedestrian-crossing.jpg": ("pedestrian-crossing", 4_000_005, 480, 360),
    "roadworks.jpg": ("roadworks", 4_000_003, 320, 320),
    "bicycle-lane.jpg": ("bicycle-lane", 4_000_007, 260, 340),
    "priority-road.png": ("priority-road", 4_000_008, 288, 224),
}


def render(seed: int, label: int, size: int = 224) -> Image.Image:
    """Render one square picture of a road sign.

    Args:
        seed: any integer from 0; every choice follows from it and from `label`.
        label: index into `LABELS`.
        size: width and height in pixels. The same scene appears at every size; the noise differs.

    Returns:
        An RGB picture that the caller owns.

    Raises:
        IndexError: there is no such label.
    """
    return render_scene(seed, label, size, size)


def render_scene(seed: int, label: int, width: int, height: int) -> Image.Image:
    """Render one picture of any shape, the sign within its central square. Arguments and result as for `render`."""
    rng = np.random.default_rng([seed, label])
    pose, paint = camera.strike_pose(rng), mix_paint(rng)
    picture = draw_background(rng, width, height)
    where = camera.corners(pose, width, height)
    _plant_pole(rng, picture, where)
    side = max(16, round(1.1 * pose.size * min(width, height)))
    face, mask = draw_face(LABELS[label], paint, side)
    camera.hang(picture, camera.weather(rng, face), mask, where)
    camera.obstruct(rng, picture, where)
    return camera.expose(rng, camera.light(rng, picture))


def _plant_pole(rng: np.random.Generator, picture: Image.Image, where: np.ndarray) -> None:
    if rng.random() > 0.8:
        return
    middle = float(where[:, 0].mean())
    half = 0.03 * float(where[2, 0] - where[3, 0]) * float(rng.uniform(0.7, 1.5))
    top = float(where[:, 1].min()) + 0.1 * float(where[2, 1] - where[1, 1])
    draw = ImageDraw.Draw(picture)
    grey = tint(rng, (140, 142, 146), 30)
    draw.rectangle((middle - half, top, middle + half, picture.height), fill=grey)
    draw.line([(middle + half / 2, top), (middle + half / 2, picture.height)], fill=tint(rng, (185, 187, 190), 20))


def examples(first_seed: int, count: int, size: int) -> Iterator[tuple[Image.Image, int]]:
    """Yield `count` pictures with their labels, the labels in turn, seeds counting up from `first_seed`."""
    for index in range(count):
        label = index % len(LABELS)
        yield render(first_seed + index, label, size), label


def write_samples(folder: Path) -> None:
    """Write the shipped samples and `expected.json` (file → label) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (label, seed, width, height) in SAMPLES.items():
        picture = render_scene(seed, LABELS.index(label), width, height)
        picture.save(folder / name, **({"quality": 90} if name.endswith(".jpg") else {"optimize": True}))
    expected = {name: label for name, (label, *_) in SAMPLES.items()}
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")


def draw_sheet(first_seed: int, size: int, rows: int = 6) -> Image.Image:
    """Return a contact sheet: one column for each label."""
    sheet = Image.new("RGB", (size * len(LABELS), size * rows))
    for index, (picture, label) in enumerate(examples(first_seed, rows * len(LABELS), size)):
        sheet.paste(picture, (label * size, index // len(LABELS) * size))
    return sheet


def main() -> None:
    """Write samples or a contact sheet, as the command line asks."""
    parser = argparse.ArgumentParser(description="Render pictures of road signs.")
    parser.add_argument("--samples", type=Path, metavar="DIR", help="write the shipped samples there")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="write a contact sheet")
    parser.add_argument("--seed", type=int, default=0, help="first seed of the sheet (default %(default)s)")
    parser.add_argument("--size", type=int, default=112, help="picture size on the sheet (default %(default)s)")
    options = parser.parse_args()
    if options.samples is None and options.sheet is None:
        parser.error("nothing to do: give --samples or --sheet")
    if options.samples is not None:
        write_samples(options.samples)
    if options.sheet is not None:
        draw_sheet(options.seed, options.size).save(options.sheet)


if __name__ == "__main__":
    main()
