"""How a scene becomes a photograph: perspective, light, blur, noise and compression.

Lengths are relative to the picture's shorter side, so that one seed gives the same photograph at every size.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scenery import draw_leaves, mottle

CAMERA_DISTANCE = 3.4  # in half widths of the sign: the smaller, the stronger the perspective


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a sign hangs and how it is turned; angles in degrees, lengths in shorter sides of the picture."""

    size: float
    right: float
    down: float
    yaw: float
    pitch: float
    roll: float


def strike_pose(rng: np.random.Generator) -> Pose:
    """Draw a pose in the central square of the picture; of a turned sign a corner may stand out a little."""
    size = float(rng.uniform(0.3, 0.88))
    room = max(0.0, 0.5 - 0.56 * size)
    return Pose(
        size=size,
        right=float(rng.uniform(-room, room)),
        down=float(rng.uniform(-room, room)),
        yaw=float(np.clip(rng.normal(0, 22), -52, 52)),
        pitch=float(np.clip(rng.normal(0, 10), -26, 26)),
        roll=float(np.clip(rng.normal(0, 6), -16, 16)),
    )


def corners(pose: Pose, width: int, height: int) -> np.ndarray:
    """Return where the corners of a sign's square appear: `[4, 2]` pixels, clockwise from the top left."""
    yaw, pitch, roll = (math.radians(a) for a in (pose.yaw, pose.pitch, pose.roll))
    turn = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    nod = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    swing = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    square = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)]) @ (turn @ nod @ swing).T
    flat = square[:, :2] * (CAMERA_DISTANCE / (CAMERA_DISTANCE + square[:, 2:]))
    side = min(width, height)
    return np.asarray(flat * (pose.size * side / 2) + (width / 2 + pose.right * side, height / 2 + pose.down * side))


def homography(source: np.ndarray, target: np.ndarray) -> list[float]:
    """Return Pillow's eight coefficients, which map `target` (points of the picture) back to `source`."""
    rows, values = [], []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return [float(c) for c in np.linalg.solve(np.array(rows), np.array(values))]


def hang(picture: Image.Image, face: Image.Image, mask: Image.Image, where: np.ndarray) -> None:
    """Paint the sign `face` within `mask` onto `picture`, its corners at `where`; only `picture` changes."""
    side = face.width
    coefficients = homography(np.array([(0, 0), (side, 0), (side, side), (0, side)], float), where)
    arguments = (picture.size, Image.Transform.PERSPECTIVE, coefficients)
    warped = face.transform(*arguments, resample=Image.Resampling.BICUBIC)
    picture.paste(warped, (0, 0), mask.transform(*arguments, resample=Image.Resampling.BICUBIC))


def weather(rng: np.random.Generator, face: Image.Image) -> Image.Image:
    """Return the face of a sign that has hung outside for years: stains, a gloss of light, now and then a sticker."""
    side = face.width
    pixels = np.asarray(face).astype(np.float32)
    pixels *= 1 + float(rng.uniform(0, 0.14)) * mottle(rng, side, side, 5)[:, :, None]
    if rng.random() < 0.3:
        x, y = rng.uniform(0, side, 2)
        down, across = np.mgrid[0:side, 0:side].astype(np.float32)
        gloss = np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * (0.22 * side) ** 2))
        pixels += float(rng.uniform(20, 80)) * gloss[:, :, None]
    worn = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if rng.random() < 0.25:
        draw = ImageDraw.Draw(worn)
        x, y = (float(v) for v in rng.uniform(0.1, 0.8, 2) * side)
        wide, high = (float(v) for v in rng.uniform(0.05, 0.13, 2) * side)
        draw.rectangle((x, y, x + wide, y + high), fill=tuple(int(v) for v in rng.integers(0, 255, 3)))
    return worn


def obstruct(rng: np.random.Generator, picture: Image.Image, where: np.ndarray) -> None:
    """Now and then put something in front of the sign, corners `where`: leaves at its edge, a twig, a cable."""
    draw = ImageDraw.Draw(picture)
    if rng.random() < 0.2:
        first, second = where[rng.permutation(4)[:2]]
        x, y = first + (second - first) * float(rng.random())
        draw_leaves(draw, rng, (float(x), float(y)), float(rng.uniform(0.12, 0.32)) * float(np.ptp(where[:, 1])), 18)
    if rng.random() < 0.25:
        for _ in range(int(rng.integers(1, 4))):
            ends = rng.uniform(-0.2, 1.2, (2, 2)) * picture.size
            thickness = max(1, round(min(picture.size) * float(rng.uniform(0.004, 0.018))))
            shade = int(rng.integers(20, 90))
            brown = (shade, int(0.9 * shade), int(0.75 * shade))
            draw.line([(float(x), float(y)) for x, y in ends], fill=brown, width=thickness)


def light(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Return the picture in one light: exposure, colour, a gradient, perhaps the edge of a shadow or fog."""
    width, height = picture.size
    pixels = np.asarray(picture).astype(np.float32) / 255
    angle = float(rng.uniform(0, math.tau))
    down, across = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    slope = across * math.cos(angle) + down * math.sin(angle)
    field = 1 + float(rng.uniform(0, 0.35)) * slope
    if rng.random() < 0.35:
        edge, depth = float(rng.uniform(-0.7, 0.7)), float(rng.uniform(0.3, 0.6))
        bent = slope + 0.3 * mottle(rng, width, height, 4)
        field = field * (1 - depth / (1 + np.exp(-12 * (bent - edge))))
    colour = 1 + np.array([1, 0, -1], np.float32) * float(rng.normal(0, 0.07))
    pixels = pixels * field[:, :, None] * colour * float(np.exp(rng.normal(-0.08, 0.36)))
    if rng.random() < 0.15:
        veil = float(rng.uniform(0.1, 0.45))
        pixels = pixels * (1 - veil) + veil * float(rng.uniform(0.6, 0.9))
    pixels = np.clip(pixels, 0, 1) ** float(np.exp(rng.normal(0, 0.15)))
    return Image.fromarray((pixels * 255).astype(np.uint8))


def expose(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Return what the sensor and the file format leave of the picture: defocus, movement, noise, compression."""
    width, height = picture.size
    side = min(width, height)
    if rng.random() < 0.6:
        picture = picture.filter(ImageFilter.GaussianBlur(side * float(rng.uniform(0.001, 0.013))))
    if rng.random() < 0.25:
        picture = _shake(picture, side * float(rng.uniform(0.008, 0.045)), float(rng.uniform(0, math.pi)))
    quality = int(rng.integers(20, 96))
    strength = float(rng.gamma(1.6, 4.0))
    pixels = np.asarray(picture).astype(np.float32)
    pixels += strength * rng.standard_normal((height, width, 1), np.float32)
    pixels += 0.5 * strength * rng.standard_normal((height, width, 3), np.float32)
    noisy = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    packed = io.BytesIO()
    noisy.save(packed, "JPEG", quality=quality)
    return Image.open(packed).convert("RGB")


def _shake(picture: Image.Image, length: float, angle: float) -> Image.Image:
    """Average the picture along a short straight path, `length` pixels long."""
    steps, margin = max(2, min(7, round(length))), math.ceil(length)
    padded = np.pad(np.asarray(picture), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    frame = Image.fromarray(padded)
    total = np.zeros((picture.height, picture.width, 3), np.float32)
    for offset in np.linspace(-length / 2, length / 2, steps):
        across, down = margin + float(offset * math.cos(angle)), margin + float(offset * math.sin(angle))
        moved = frame.transform(
            picture.size, Image.Transform.AFFINE, (1, 0, across, 0, 1, down), resample=Image.Resampling.BILINEAR
        )
        total += np.asarray(moved)
    return Image.fromarray((total / steps).astype(np.uint8))
