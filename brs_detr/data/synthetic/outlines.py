"""The six shapes of the synthetic data set, as anti-aliased masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SHAPE_NAMES = ("circle", "square", "triangle", "star", "ring", "cross")

_SUPERSAMPLING = 4
_RING_HOLE = 0.55  # inner radius of the ring by its outer one
_CROSS_ARM = 0.32  # half width of an arm by the radius


def shape_mask(name: str, radius: float, angle: float, stretch: float) -> NDArray[np.float32]:
    """Coverage of each pixel by a shape in the middle of a square window.

    Args:
        name: one of `SHAPE_NAMES`.
        radius: of the circle around the unstretched shape, in pixels.
        angle: of rotation, in radians.
        stretch: width is multiplied, height divided by this before the rotation.

    Returns:
        [s, s] in 0..1, with a side s that leaves a pixel of room around the shape.
    """
    side = 2 * int(np.ceil(radius * max(stretch, 1 / stretch))) + 4
    canvas = Image.new("L", (side * _SUPERSAMPLING,) * 2)
    draw = ImageDraw.Draw(canvas)
    for ring, ink in _outlines(name):
        corners = _placed(ring, radius, angle, stretch) * _SUPERSAMPLING + side * _SUPERSAMPLING / 2
        draw.polygon([tuple(corner) for corner in corners.tolist()], fill=ink)
    return np.asarray(canvas.reduce(_SUPERSAMPLING), dtype=np.float32) / np.float32(255)


def _placed(points: NDArray[Any], radius: float, angle: float, stretch: float) -> NDArray[Any]:
    stretched = points * (radius * stretch, radius / stretch)
    cos, sin = np.cos(angle), np.sin(angle)
    return stretched @ np.array([[cos, sin], [-sin, cos]])


def _outlines(name: str) -> list[tuple[NDArray[Any], int]]:
    """Closed outlines within the unit circle, each with the ink that fills it (0 cuts a hole)."""
    if name == "circle":
        return [(_regular(48), 255)]
    if name == "ring":
        return [(_regular(48), 255), (_regular(48) * _RING_HOLE, 0)]
    if name == "square":
        return [(_regular(4, start=0.5), 255)]
    if name == "triangle":
        return [(_regular(3), 255)]
    if name == "star":
        spikes = _regular(10)
        spikes[1::2] *= 0.42
        return [(spikes, 255)]
    if name == "cross":
        return [(_cross(_CROSS_ARM), 255)]
    raise ValueError(f"unknown shape {name!r}; there are {', '.join(SHAPE_NAMES)}")


def _regular(corners: int, start: float = 0.0) -> NDArray[Any]:
    turns = (np.arange(corners) + start) * 2 * np.pi / corners
    return np.stack([np.sin(turns), -np.cos(turns)], axis=1)


def _cross(arm: float) -> NDArray[Any]:
    reach = np.sqrt(1 - arm**2)
    quarter = np.array([[arm, -reach], [arm, -arm], [reach, -arm]])
    turn = np.array([[0, 1], [-1, 0]])  # a quarter turn
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])
