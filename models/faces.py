"""The faces of the road signs: outlines and pictograms drawn as polygons, discs and strokes.

Everything lives in the unit square `[-1, 1] x [-1, 1]` with y pointing down, and nothing depends on a font that a
machine may or may not have. A face is painted without transparency; its outline is a separate mask, so that
resampling the two never mixes the sign with an undefined colour beyond its edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]
Outline = Sequence[Point]

SUPERSAMPLING = 3  # ImageDraw does not smooth edges; faces are painted this much larger and averaged down


@dataclass(frozen=True, slots=True)
class Paint:
    """The colours and proportions of one weathered sign; no two signs of a class look the same."""

    red: Colour
    blue: Colour
    white: Colour
    black: Colour
    yellow: Colour
    ground: Colour  # what lies inside a red triangle: white, in some countries yellow
    border: float  # width of coloured borders, in units
    weight: float  # width of pictogram strokes relative to the usual one


def mix_paint(rng: np.random.Generator) -> Paint:
    """Draw one sign's colours: each hue wanders a little, and all fade together towards grey."""
    fade = float(rng.uniform(0.0, 0.35))

    def shade(red: int, green: int, blue: int) -> Colour:
        values = np.array([red, green, blue]) + rng.uniform(-18, 18, 3)
        values = values * (1 - fade) + (0.6 * values.mean() + 60) * fade
        r, g, b = (int(v) for v in np.clip(values, 0, 255))
        return r, g, b

    white = shade(238, 238, 232)
    yellow = shade(242, 190, 30)
    return Paint(
        red=shade(200, 28, 36),
        blue=shade(24, 84, 178),
        white=white,
        black=shade(24, 24, 26),
        yellow=yellow,
        ground=yellow if rng.random() < 0.25 else white,
        border=float(rng.uniform(0.15, 0.22)),
        weight=float(rng.uniform(0.88, 1.12)),
    )


class Pen:
    """Draws unit coordinates onto a square canvas of `side` pixels."""

    def __init__(self, canvas: Image.Image) -> None:
        self._draw = ImageDraw.Draw(canvas)
        self._half = canvas.width / 2

    def _pixels(self, points: Outline) -> list[Point]:
        return [((x + 1) * self._half, (y + 1) * self._half) for x, y in points]

    def polygon(self, points: Outline, fill: Colour | int) -> None:
        """Fill a polygon."""
        self._draw.polygon(self._pixels(points), fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: Colour | int) -> None:
        """Fill a disc."""
        self._draw.ellipse(self._pixels([(x - radius, y - radius), (x + radius, y + radius)]), fill=fill)

    def stroke(self, points: Outline, width: float, fill: Colour | int) -> None:
        """Draw a line through `points` with round joints and round ends."""
        self._draw.line(self._pixels(points), fill=fill, width=max(1, round(width * self._half)))
        for x, y in points:  # Pillow's own curved joints leave gaps in short segments
            self.disc(x, y, width / 2, fill)

    def slab(self, points: Outline, corner: float, fill: Colour | int) -> None:
        """Fill a convex polygon about the origin whose corners are rounded with the radius `corner`."""
        reach = min(_edge_distances(points))
        inner = [(x * (1 - corner / reach), y * (1 - corner / reach)) for x, y in points]
        self.polygon(inner, fill)
        self.stroke([*inner, inner[0]], 2 * corner, fill)


def _edge_distances(points: Outline) -> list[float]:
    pairs = zip(points, [*points[1:], points[0]], strict=True)
    return [abs(ax * by - ay * bx) / math.hypot(bx - ax, by - ay) for (ax, ay), (bx, by) in pairs]


def regular(corners: int, radius: float, turn: float) -> list[Point]:
    """Return a regular polygon about the origin, its first corner at `turn` degrees (0 is right, 90 is down)."""
    angles = [math.radians(turn + 360 * i / corners) for i in range(corners)]
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


def arc(x: float, y: float, wide: float, high: float, start: float, end: float) -> list[Point]:
    """Return points on an ellipse's rim from `start` to `end` degrees (0 is right, 90 is down)."""
    angles = np.radians(np.linspace(start, end, 25))
    return [(x + wide * math.cos(a), y + high * math.sin(a)) for a in angles]


CIRCLE = regular(60, 0.97, 0)
OCTAGON = regular(8, 1.04, 22.5)
SQUARE = [(-0.93, -0.93), (0.93, -0.93), (0.93, 0.93), (-0.93, 0.93)]
DIAMOND = regular(4, 1.06, 0)
TRIANGLE_UP = [(0.0, -1.08), (1.12, 0.76), (-1.12, 0.76)]
TRIANGLE_DOWN = [(-x, -y) for x, y in TRIANGLE_UP]

# Strokes of the few letters and digits needed, in a box one wide and two high about the origin.
GLYPHS: dict[str, list[list[Point]]] = {
    "S": [[*arc(0, -0.5, 0.48, 0.5, -25, -270), *arc(0, 0.5, 0.48, 0.5, -90, 155)]],
    "T": [[(-0.52, -1), (0.52, -1)], [(0, -1), (0, 1)]],
    "O": [arc(0, 0, 0.5, 1, 0, 360)],
    "P": [[(-0.42, 1), (-0.42, -1), *arc(0.02, -0.45, 0.45, 0.55, -90, 90), (-0.42, 0.1)]],
    "0": [arc(0, 0, 0.48, 1, 0, 360)],
    "3": [[*arc(0, -0.5, 0.45, 0.5, -155, 90), *arc(0, 0.5, 0.5, 0.5, -90, 155)]],
    "5": [[(0.42, -1), (-0.34, -1), (-0.42, -0.08), *arc(0, 0.38, 0.5, 0.62, -135, 150)]],
}


def write(pen: Pen, text: str, centre: Point, height: float, width: float, fill: Colour) -> None:
    """Write `text` with strokes; `height` is that of a letter, `width` the line width, in units."""
    half, pitch = height / 2, height * 0.68
    left = centre[0] - pitch * (len(text) - 1) / 2
    for place, letter in enumerate(text):
        for line in GLYPHS[letter]:
            pen.stroke([(left + place * pitch + x * half, centre[1] + y * half) for x, y in line], width, fill)


def arrow_head(pen: Pen, tip: Point, direction: float, size: float, fill: Colour) -> None:
    """Fill a triangular arrow head whose tip points to `direction` degrees."""
    corners = [direction, direction + 142, direction - 142]
    centre = (tip[0] - size * math.cos(math.radians(direction)), tip[1] - size * math.sin(math.radians(direction)))
    rays = [
        (centre[0] + size * math.cos(math.radians(a)), centre[1] + size * math.sin(math.radians(a))) for a in corners
    ]
    pen.polygon(rays, fill)


def _stop(pen: Pen, paint: Paint) -> None:
    pen.polygon(OCTAGON, paint.white)
    pen.polygon(regular(8, 0.97, 22.5), paint.red)
    write(pen, "STOP", (0, 0), 0.56, 0.125 * paint.weight, paint.white)


def _yield(pen: Pen, paint: Paint) -> None:
    pen.slab(TRIANGLE_DOWN, 0.12, paint.red)
    inner = 0.98 - paint.border / 0.6
    pen.slab([(x * inner, y * inner) for x, y in TRIANGLE_DOWN], 0.04, paint.ground)


def _no_entry(pen: Pen, paint: Paint) -> None:
    pen.disc(0, 0, 0.97, paint.white)
    pen.disc(0, 0, 0.92, paint.red)
    half = 0.15 * paint.weight
    pen.polygon([(-0.68, -half), (0.68, -half), (0.68, half), (-0.68, half)], paint.white)


def _speed(limit: str) -> Callable[[Pen, Paint], None]:
    def draw(pen: Pen, paint: Paint) -> None:
        pen.disc(0, 0, 0.97, paint.red)
        pen.disc(0, 0, 0.97 - paint.border, paint.white)
        write(pen, limit, (0, 0), 0.78, 0.145 * paint.weight, paint.black)

    return draw


def _blue_disc(pen: Pen, paint: Paint) -> None:
    pen.disc(0, 0, 0.97, paint.white)
    pen.disc(0, 0, 0.92, paint.blue)


def _turn(side: int) -> Callable[[Pen, Paint], None]:
    def draw(pen: Pen, paint: Paint) -> None:
        _blue_disc(pen, paint)
        bend = arc(0.02, 0.1, 0.3, 0.28, 180, 270)
        shaft = [(-0.28, 0.6), *bend, (0.2, -0.18)]
        pen.stroke([(side * x, y) for x, y in shaft], 0.23 * paint.weight, paint.white)
        arrow_head(pen, (side * 0.68, -0.18), 0 if side > 0 else 180, 0.36, paint.white)

    return draw


def _ahead_only(pen: Pen, paint: Paint) -> None:
    _blue_disc(pen, paint)
    pen.stroke([(0, 0.62), (0, -0.2)], 0.24 * paint.weight, paint.white)
    arrow_head(pen, (0, -0.72), -90, 0.38, paint.white)


def _roundabout(pen: Pen, paint: Paint) -> None:
    _blue_disc(pen, paint)
    for third in range(3):
        start = 120 * third + 40
        pen.stroke(arc(0, 0, 0.5, 0.5, start, start - 62), 0.17 * paint.weight, paint.white)
        end = math.radians(start - 60)
        heading = start - 60 - 90 - 14  # the tangent, turned inwards a little as the arrow follows the circle
        x, y = 0.5 * math.cos(end), 0.5 * math.sin(end)
        along = math.radians(heading)
        arrow_head(pen, (x + 0.36 * math.cos(along), y + 0.36 * math.sin(along)), heading, 0.24, paint.white)


def _pedestrian_crossing(pen: Pen, paint: Paint) -> None:
    pen.slab(SQUARE, 0.1, paint.white)
    pen.slab([(x * 0.94, y * 0.94) for x, y in SQUARE], 0.08, paint.blue)
    pen.polygon([(0, -0.8), (0.82, 0.68), (-0.82, 0.68)], paint.white)
    ink, line = paint.black, 0.1 * paint.weight
    for left in (-0.56, -0.26, 0.04, 0.34):
        pen.polygon([(left + 0.06, 0.46), (left + 0.22, 0.46), (left + 0.24, 0.62), (left + 0.04, 0.62)], ink)
    pen.disc(0.04, -0.42, 0.1, ink)
    pen.stroke([(0.02, -0.22), (-0.02, 0.08)], 0.16 * paint.weight, ink)
    pen.stroke([(-0.02, 0.08), (0.1, 0.22), (0.14, 0.42)], line, ink)
    pen.stroke([(-0.02, 0.08), (-0.1, 0.26), (-0.26, 0.4)], line, ink)
    pen.stroke([(0.02, -0.2), (0.18, -0.02), (0.28, -0.04)], 0.75 * line, ink)
    pen.stroke([(0.0, -0.2), (-0.16, -0.06), (-0.2, 0.08)], 0.75 * line, ink)


def _priority_road(pen: Pen, paint: Paint) -> None:
    pen.slab(DIAMOND, 0.08, paint.black)
    pen.slab([(x * 0.95, y * 0.95) for x, y in DIAMOND], 0.07, paint.white)
    pen.slab([(x * 0.66, y * 0.66) for x, y in DIAMOND], 0.03, paint.yellow)


def _no_parking(pen: Pen, paint: Paint) -> None:
    pen.disc(0, 0, 0.97, paint.red)
    pen.disc(0, 0, 0.97 - paint.border, paint.blue)
    pen.stroke([(-0.58, -0.58), (0.58, 0.58)], paint.border, paint.red)


def _warning(pen: Pen, paint: Paint) -> None:
    pen.slab(TRIANGLE_UP, 0.12, paint.red)
    inner = 0.98 - paint.border / 0.6
    pen.slab([(x * inner, y * inner) for x, y in TRIANGLE_UP], 0.04, paint.ground)


def _roadworks(pen: Pen, paint: Paint) -> None:
    _warning(pen, paint)
    ink, line = paint.black, 0.085 * paint.weight
    pen.disc(-0.02, -0.36, 0.085, ink)
    pen.stroke([(-0.08, -0.2), (-0.24, 0.06)], 1.7 * line, ink)
    pen.stroke([(-0.24, 0.06), (-0.1, 0.2), (-0.14, 0.4)], 1.2 * line, ink)
    pen.stroke([(-0.24, 0.06), (-0.34, 0.22), (-0.42, 0.4)], 1.2 * line, ink)
    pen.stroke([(-0.06, -0.18), (0.06, -0.02), (0.16, 0.0)], line, ink)
    pen.stroke([(-0.12, -0.04), (0.3, 0.26)], 0.7 * line, ink)
    pen.polygon([(0.08, 0.44), (0.2, 0.26), (0.32, 0.2), (0.42, 0.28), (0.54, 0.44)], ink)


def _danger(pen: Pen, paint: Paint) -> None:
    _warning(pen, paint)
    half = 0.11 * paint.weight
    pen.polygon([(-half, -0.48), (half, -0.48), (0.55 * half, 0.12), (-0.55 * half, 0.12)], paint.black)
    pen.disc(0, -0.48, half, paint.black)
    pen.disc(0, 0.31, 1.02 * half, paint.black)


def _bicycle_lane(pen: Pen, paint: Paint) -> None:
    _blue_disc(pen, paint)
    ink, line = paint.white, 0.075 * paint.weight
    for x in (-0.42, 0.42):
        pen.stroke(arc(x, 0.2, 0.28, 0.28, 0, 360), line, ink)
    crank, saddle, head = (-0.06, 0.2), (-0.18, -0.22), (0.26, -0.2)
    pen.stroke([(-0.42, 0.2), crank, head, saddle, (-0.42, 0.2)], line, ink)
    pen.stroke([crank, (-0.2, -0.32)], line, ink)
    pen.stroke([(-0.32, -0.34), (-0.1, -0.34)], 1.3 * line, ink)
    pen.stroke([(0.42, 0.2), (0.22, -0.42), (0.4, -0.46)], line, ink)


def _parking(pen: Pen, paint: Paint) -> None:
    pen.slab(SQUARE, 0.1, paint.white)
    pen.slab([(x * 0.94, y * 0.94) for x, y in SQUARE], 0.08, paint.blue)
    write(pen, "P", (0.04, 0), 1.15, 0.24 * paint.weight, paint.white)


FACES: dict[str, tuple[Outline, float, Callable[[Pen, Paint], None]]] = {
    # label: (outline, radius of its rounded corners, painter)
    "stop": (OCTAGON, 0.02, _stop),
    "yield": (TRIANGLE_DOWN, 0.12, _yield),
    "no-entry": (CIRCLE, 0.02, _no_entry),
    "speed-30": (CIRCLE, 0.02, _speed("30")),
    "speed-50": (CIRCLE, 0.02, _speed("50")),
    "turn-left": (CIRCLE, 0.02, _turn(-1)),
    "turn-right": (CIRCLE, 0.02, _turn(1)),
    "ahead-only": (CIRCLE, 0.02, _ahead_only),
    "roundabout": (CIRCLE, 0.02, _roundabout),
    "pedestrian-crossing": (SQUARE, 0.1, _pedestrian_crossing),
    "priority-road": (DIAMOND, 0.08, _priority_road),
    "no-parking": (CIRCLE, 0.02, _no_parking),
    "roadworks": (TRIANGLE_UP, 0.12, _roadworks),
    "danger": (TRIANGLE_UP, 0.12, _danger),
    "bicycle-lane": (CIRCLE, 0.02, _bicycle_lane),
    "parking": (SQUARE, 0.1, _parking),
}


def draw_face(label: str, paint: Paint, side: int) -> tuple[Image.Image, Image.Image]:
    """Draw one sign seen straight on.

    Args:
        label: a key of `FACES`.
        paint: its colours and proportions.
        side: width and height of the result in pixels.

    Returns:
        The face (RGB) and its outline (L, 255 inside), both `side` x `side`; the caller owns them.

    Raises:
        KeyError: no sign has this label.
    """
    outline, corner, painter = FACES[label]
    large = side * SUPERSAMPLING
    face = Image.new("RGB", (large, large), paint.white)
    mask = Image.new("L", (large, large), 0)
    painter(Pen(face), paint)
    Pen(mask).slab(outline, corner, 255)
    return face.reduce(SUPERSAMPLING), mask.reduce(SUPERSAMPLING)
