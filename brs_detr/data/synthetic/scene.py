"""Draw one synthetic image: shapes on a textured ground, back to front, and where they can be seen."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Rgb = NDArray[np.float32]

SHAPE_NAMES = ("circle", "square", "triangle", "star", "ring", "cross")

_SUPERSAMPLING = 4
_RING_HOLE = 0.55  # inner radius of the ring by its outer one
_CROSS_ARM = 0.32  # half width of an arm by the radius
_EMPTY_RATE = 0.05
_CROWD_RATE = 0.10
_MAX_OBJECTS = 8
_MIN_VISIBLE = 0.45  # a shape covered further than this is not drawn at all
_MIN_CONTRAST = 70.0  # between a shape and the ground below it, as a distance in RGB
_RADII = (0.08, 0.26)  # by the shorter side of the image
_TILT = 0.4  # radians, to either side
_CROWD_MEMBERS = (9, 15)
_SHADOW = 0.35


class SceneObject(NamedTuple):
    """An object, or a crowd of one class, and the pixels [h, w] in which it is seen."""

    label: int
    mask: NDArray[np.bool_]
    is_crowd: bool


@dataclass(frozen=True)
class _Stamp:
    """A shape ready to be drawn: its coverage [s, s] and the upper left corner (y, x) of its window."""

    label: int
    coverage: NDArray[np.float32]
    corner: tuple[int, int]

    @property
    def covers(self) -> NDArray[np.bool_]:
        """The pixels [s, s] that count as the shape's own."""
        return self.coverage >= 0.5


def draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> tuple[NDArray[np.uint8], list[SceneObject]]:
    """Draw an image.

    Args:
        rng: source of all randomness.
        size: (h, w) in pixels.

    Returns:
        The image [h, w, 3] in RGB, and its objects from back to front; each can be seen in at least one pixel.
    """
    groups, owner = _arrange(rng, size)
    image = textured_ground(rng, size)
    for group in groups:
        hue = rng.random()
        for stamp in group:
            _paint(rng, image, stamp, hue)
    objects = [SceneObject(group[0].label, owner == index, len(group) > 1) for index, group in enumerate(groups)]
    image += rng.normal(0, 2, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), objects


def _arrange(rng: np.random.Generator, size: tuple[int, int]) -> tuple[list[list[_Stamp]], NDArray[np.int64]]:
    """Groups of stamps from back to front, and which group is seen in each pixel [h, w], -1 for the ground."""
    groups: list[list[_Stamp]] = []
    areas: list[int] = []
    owner = np.full(size, -1)
    if rng.random() < _EMPTY_RATE:
        return groups, owner
    candidates = [[_single(rng, size)] for _ in range(int(rng.integers(1, _MAX_OBJECTS + 1)))]
    if rng.random() < _CROWD_RATE:
        candidates.insert(0, _crowd(rng, size))
    for group in candidates:
        trial = owner.copy()
        for stamp in group:
            inside, window = _overlap(stamp, size)
            trial[window][stamp.covers[inside]] = len(groups)
        seen = np.bincount(trial[trial >= 0], minlength=len(groups) + 1)
        area = int(group[0].covers.sum()) if len(group) == 1 else int(seen[-1])
        if (seen >= _MIN_VISIBLE * np.array([*areas, area])).all():
            groups, areas, owner = [*groups, group], [*areas, area], trial
    return groups, owner


def _single(rng: np.random.Generator, size: tuple[int, int]) -> _Stamp:
    low, high = np.log(_RADII)
    radius = max(float(np.exp(rng.uniform(low, high))) * min(size), 4.0)
    centre = rng.uniform(0.04, 0.96, 2) * size
    return _stamp(rng, int(rng.integers(len(SHAPE_NAMES))), radius, centre)


def _crowd(rng: np.random.Generator, size: tuple[int, int]) -> list[_Stamp]:
    label = int(rng.integers(len(SHAPE_NAMES)))
    middle, spread = rng.uniform(0.25, 0.75, 2) * size, 0.13 * min(size)
    members = int(rng.integers(*_CROWD_MEMBERS))
    radius = max(0.04 * min(size), 3.0)
    return [_stamp(rng, label, radius, middle + rng.uniform(-spread, spread, 2)) for _ in range(members)]


def _stamp(rng: np.random.Generator, label: int, radius: float, centre: NDArray[np.float64]) -> _Stamp:
    coverage = shape_mask(SHAPE_NAMES[label], radius, rng.uniform(-_TILT, _TILT), rng.uniform(0.82, 1.22))
    y, x = np.round(centre - len(coverage) / 2).astype(int).tolist()
    return _Stamp(label, coverage, (y, x))


def _overlap(stamp: _Stamp, size: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of the stamp that is on the image, and the window of the image below it."""
    side = len(stamp.coverage)
    starts = [max(0, corner) for corner in stamp.corner]
    stops = [
        max(start, min(limit, corner + side)) for start, limit, corner in zip(starts, size, stamp.corner, strict=True)
    ]
    inside = [slice(a - corner, b - corner) for a, b, corner in zip(starts, stops, stamp.corner, strict=True)]
    return (inside[0], inside[1]), (slice(starts[0], stops[0]), slice(starts[1], stops[1]))


def _paint(rng: np.random.Generator, image: Rgb, stamp: _Stamp, hue: float) -> None:
    """Blend a stamp into the image in place: a soft shadow first, then a shaded body."""
    inside, window = _overlap(stamp, (image.shape[0], image.shape[1]))
    colour = _contrasting_colour(rng, image[window].mean(axis=(0, 1)), hue)
    _cast_shadow(image, stamp)
    coverage = stamp.coverage[inside][..., None]  # [h', w', 1]
    light = np.linspace(1.12, 0.86, len(stamp.coverage), dtype=np.float32)[inside[0]][:, None, None]
    body = colour * light + rng.normal(0, 4, coverage.shape)
    image[window] = image[window] * (1 - coverage) + body * coverage


def _cast_shadow(image: Rgb, stamp: _Stamp) -> None:
    reach = 2 + len(stamp.coverage) // 30
    wide = (np.pad(stamp.coverage, reach) * 255).astype(np.uint8)
    blurred = np.asarray(Image.fromarray(wide).filter(ImageFilter.BoxBlur(reach / 2)), dtype=np.float32) / np.float32(
        255
    )
    shadow = _Stamp(stamp.label, blurred, (stamp.corner[0] - reach // 2, stamp.corner[1] - reach // 2))
    inside, window = _overlap(shadow, (image.shape[0], image.shape[1]))
    image[window] *= 1 - _SHADOW * shadow.coverage[inside][..., None]


def _contrasting_colour(rng: np.random.Generator, ground: Rgb, hue: float) -> Rgb:
    for _ in range(20):
        colour = hsv(hue + rng.normal(0, 0.03), rng.uniform(0.35, 0.95), rng.uniform(0.35, 1.0))
        if np.linalg.norm(colour - ground) >= _MIN_CONTRAST:
            break
    return colour


def shape_mask(name: str, radius: float, angle: float, stretch: float) -> NDArray[np.float32]:
    """Coverage of each pixel by a shape in the middle of a square window.

    Args:
        name: one of `SHAPE_NAMES`.
        radius: of the circle around the unstretched shape, in pixels.
        angle: of rotation, in radians.
        stretch: width is multiplied, height divided by this before the rotation.

    Returns:
        [s, s] in 0..1, with a side s that leaves a margin of a pixel around the shape.
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


def textured_ground(rng: np.random.Generator, size: tuple[int, int]) -> Rgb:
    """Paint a muted ground: two tones mixed by cloudy noise, sometimes woven or striped, with grain.

    Args:
        rng: source of all randomness.
        size: (h, w) in pixels.

    Returns:
        [h, w, 3] float32 in 0..255.
    """
    height, width = size
    dark, light = _two_tones(rng)
    mix = cloudy_noise(rng, size)[..., None]  # [h, w, 1]
    ground = dark * (1 - mix) + light * mix
    ground += _pattern(rng, size)[..., None] * rng.uniform(3, 14)
    ground += rng.normal(0, rng.uniform(1.5, 6), (height, width, 1))
    return np.clip(ground, 0, 255).astype(np.float32)


def cloudy_noise(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Smooth noise from coarse to fine, stretched to 0..1, shape [h, w]."""
    height, width = size
    total = np.zeros(size, dtype=np.float32)
    for octave, cells in enumerate((2, 5, 11, 24)):
        grid = rng.random((cells, cells), dtype=np.float32)
        total += np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)) * 0.55**octave
    return (total - total.min()) / max(float(np.ptp(total)), 1e-6)


def hsv(hue: float, saturation: float, value: float) -> Rgb:
    """Colour [3] in 0..255 from hue, saturation and value in 0..1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), dtype=np.float32) * 255


def _two_tones(rng: np.random.Generator) -> tuple[Rgb, Rgb]:
    hue, value = rng.random(), rng.uniform(0.18, 0.8)
    saturation = rng.uniform(0.05, 0.35)
    return hsv(hue, saturation, value), hsv(
        hue + rng.normal(0, 0.12), saturation, min(value + rng.uniform(0.1, 0.3), 1)
    )


def _pattern(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:
    y, x = np.mgrid[: size[0], : size[1]]
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 22)
    along = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    across = np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period)
    patterns = (along, along * across, np.zeros(size))
    return patterns[rng.integers(len(patterns))]
