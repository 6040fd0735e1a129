"""What stands behind a sign: streets, foliage and plain clutter, drawn from a seed.

A classifier that has only seen signs on empty ground learns the ground. So the backgrounds hold what streets hold,
among it plain discs, panels and triangles in the signs' own colours, which must not be mistaken for signs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Callable

Colour = tuple[int, int, int]

SUPERSAMPLING = 2


def tint(rng: np.random.Generator, colour: tuple[float, float, float], spread: float = 25) -> Colour:
    """Return a colour near `colour`: up to `spread` lighter or darker, its hue a little aside."""
    shift = rng.uniform(-spread, spread) + rng.uniform(-0.4 * spread, 0.4 * spread, 3)
    r, g, b = (int(v) for v in np.clip(np.array(colour) + shift, 0, 255))
    return r, g, b


def mottle(rng: np.random.Generator, width: int, height: int, cells: int) -> np.ndarray:
    """Return smooth random spots: `[height, width]` float32 in about [-1, 1], `cells` spots along each side."""
    spots = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC))


def _gradient(top: Colour, bottom: Colour, width: int, height: int) -> Image.Image:
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    column = np.array(top, np.float32) * (1 - ramp) + np.array(bottom, np.float32) * ramp
    return Image.fromarray(np.broadcast_to(column, (height, width, 3)).astype(np.uint8))


def _buildings(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, horizon: float) -> None:
    x = -float(rng.uniform(0, 0.2)) * width
    while x < width:
        wide = float(rng.uniform(0.12, 0.4)) * width
        roof = horizon - float(rng.uniform(0.15, 1.0)) * horizon
        wall = tint(rng, (150, 135, 120), 70)
        draw.rectangle((x, roof, x + wide, horizon), fill=wall)
        _windows(draw, rng, (x, roof, x + wide, horizon), wall)
        x += wide * float(rng.uniform(0.9, 1.4))


def _windows(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, wall: tuple[float, float, float, float], colour: Colour
) -> None:
    left, top, right, bottom = wall
    columns, step = int(rng.integers(2, 6)), float(rng.uniform(0.6, 1.5))
    pitch = (right - left) / columns
    lit = tint(rng, (210, 190, 130), 40) if rng.random() < 0.3 else tint(rng, (70, 85, 105), 35)
    y = top + 0.3 * pitch
    while y + 0.6 * pitch * step < bottom:
        for column in range(columns):
            x = left + (column + 0.22) * pitch
            pane = lit if rng.random() < 0.8 else colour
            draw.rectangle((x, y, x + 0.55 * pitch, y + 0.6 * pitch * step), fill=pane)
        y += pitch * step


def _road(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int, horizon: float) -> None:
    vanishing = float(rng.uniform(-0.2, 1.2)) * width
    near = float(rng.uniform(-0.4, 0.6)) * width
    wide = float(rng.uniform(0.8, 1.6)) * width
    asphalt = tint(rng, (95, 95, 98), 30)
    draw.polygon(
        [(vanishing - 2, horizon), (vanishing + 2, horizon), (near + wide, height), (near, height)], fill=asphalt
    )
    middle = near + wide / 2
    for i in range(6):  # dashes of the centre line, longer towards the viewer
        start, end = (i / 6) ** 2, ((i + 0.55) / 6) ** 2
        at = [(vanishing + (middle - vanishing) * t, horizon + (height - horizon) * t) for t in (start, end)]
        draw.line(at, fill=tint(rng, (215, 212, 200), 20), width=max(1, int(0.02 * width * end)))


def draw_leaves(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, centre: tuple[float, float], reach: float, count: int
) -> None:
    """Draw a cluster of `count` round leaves; `centre` and `reach` in pixels."""
    leaf = [(60, 95, 45), (90, 120, 50), (120, 95, 45)][int(rng.integers(3))]
    for _ in range(count):
        angle, distance = float(rng.uniform(0, math.tau)), reach * math.sqrt(float(rng.random()))
        x, y = centre[0] + distance * math.cos(angle), centre[1] + distance * math.sin(angle)
        radius = reach * float(rng.uniform(0.08, 0.3))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tint(rng, leaf, 32))


def _trees(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int, horizon: float) -> None:
    for _ in range(int(rng.integers(0, 4))):
        x, tall = float(rng.uniform(0, 1)) * width, float(rng.uniform(0.25, 0.7)) * height
        trunk = 0.02 * width
        draw.rectangle(
            (x - trunk, horizon - 0.6 * tall, x + trunk, horizon + 0.05 * height), fill=tint(rng, (80, 62, 48), 20)
        )
        draw_leaves(draw, rng, (x, horizon - 0.7 * tall), 0.4 * tall, 45)


def _street(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    horizon = float(rng.uniform(0.5, 0.85)) * height
    skies = [
        ((96, 150, 215), (205, 220, 235)),
        ((150, 155, 162), (205, 205, 203)),
        ((70, 75, 120), (235, 160, 110)),
        ((25, 28, 45), (60, 60, 80)),
    ]
    high, low = skies[int(rng.integers(len(skies)))]
    picture = _gradient(tint(rng, high), tint(rng, low), width, height)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, horizon, width, height), fill=tint(rng, (105, 115, 80), 40))
    if rng.random() < 0.75:
        _buildings(draw, rng, width, horizon)
    _road(draw, rng, width, height, horizon)
    _trees(draw, rng, width, height, horizon)
    return picture


def _thicket(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    picture = _gradient(tint(rng, (75, 105, 65), 40), tint(rng, (55, 65, 40), 30), width, height)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(5, 11))):
        centre = (float(rng.uniform(0, 1)) * width, float(rng.uniform(0, 1)) * height)
        draw_leaves(draw, rng, centre, float(rng.uniform(0.15, 0.4)) * height, 40)
    for _ in range(int(rng.integers(0, 6))):
        ends = [(float(rng.uniform(0, 1)) * width, float(y) * height) for y in rng.uniform(0, 1, 2)]
        draw.line(ends, fill=tint(rng, (85, 68, 52), 25), width=max(1, int(float(rng.uniform(0.005, 0.03)) * width)))
    return picture


def _clutter(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    picture = _gradient(tint(rng, (128, 128, 128), 110), tint(rng, (128, 128, 128), 110), width, height)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(12, 36))):
        centre = rng.uniform(0, 1, 2) * (width, height)
        corners = centre + rng.normal(0, float(rng.uniform(0.05, 0.25)), (int(rng.integers(3, 7)), 2)) * (width, height)
        draw.polygon([(float(x), float(y)) for x, y in corners], fill=tint(rng, (128, 128, 128), 115))
    for _ in range(int(rng.integers(4, 16))):
        ends = rng.uniform(-0.1, 1.1, (2, 2)) * (width, height)
        wide = max(1, int(float(rng.uniform(0.004, 0.03)) * width))
        draw.line([(float(x), float(y)) for x, y in ends], fill=tint(rng, (128, 128, 128), 120), width=wide)
    return picture


def _decoys(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int) -> None:
    """Scatter small plain shapes in the signs' colours."""
    colours = [(195, 40, 45), (35, 90, 175), (235, 190, 50), (232, 232, 228)]
    for _ in range(int(rng.integers(0, 5))):
        x, y = float(rng.uniform(0, 1)) * width, float(rng.uniform(0, 1)) * height
        reach = float(rng.uniform(0.02, 0.09)) * height
        colour = tint(rng, colours[int(rng.integers(len(colours)))], 20)
        match int(rng.integers(3)):
            case 0:
                draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
            case 1:
                tall = reach * float(rng.uniform(0.4, 1.6))
                draw.rectangle((x - reach, y - tall, x + reach, y + tall), fill=colour)
            case _:
                draw.polygon([(x, y - reach), (x + reach, y + reach), (x - reach, y + reach)], fill=colour)


KINDS: tuple[tuple[float, Callable[[np.random.Generator, int, int], Image.Image]], ...] = (
    (0.65, _street),
    (0.2, _thicket),
    (0.15, _clutter),
)


def draw_background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Draw one background.

    Args:
        rng: the source of every choice; it is advanced.
        width: of the result, in pixels.
        height: of the result, in pixels.

    Returns:
        An RGB picture that the caller owns.
    """
    shares = [share for share, _ in KINDS]
    paint = KINDS[int(rng.choice(len(KINDS), p=shares))][1]
    picture = paint(rng, width * SUPERSAMPLING, height * SUPERSAMPLING)
    _decoys(ImageDraw.Draw(picture), rng, *picture.size)
    pixels = np.asarray(picture.reduce(SUPERSAMPLING)).astype(np.float32)
    for cells, strength in ((7, 16), (28, 12)):  # walls, asphalt and leaves are never of one colour
        pixels += strength * float(rng.uniform(0.2, 1)) * mottle(rng, width, height, cells)[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
