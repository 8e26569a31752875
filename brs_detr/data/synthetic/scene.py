"""One synthetic picture: shapes drawn back to front on a textured ground, and where they can be seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from brs_detr.data.synthetic.outlines import SHAPE_NAMES, shape_mask
from brs_detr.data.synthetic.textures import Rgb, hsv, textured_ground

_EMPTY_RATE = 0.05
_CROWD_RATE = 0.10
_MAX_OBJECTS = 8
_MIN_VISIBLE = 0.45  # a shape covered further than this is not drawn at all
_MIN_CONTRAST = 70.0  # between a shape and the ground below it, as a distance in RGB
_RADII = (0.08, 0.26)  # by the shorter side of the picture
_TILT = 0.4  # radians, to either side
_CROWD_MEMBERS = (9, 15)
_SHADOW = 0.35


class SceneObject(NamedTuple):
    """A labelled object, or a crowd of one class, and the pixels [h, w] in which it is seen."""

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
    """Draw a picture and say what is on it.

    Args:
        rng: source of all randomness.
        size: (h, w) in pixels.

    Returns:
        The picture [h, w, 3] in RGB, and its objects from back to front; each can be seen in at least one pixel.
    """
    groups, owner = _arrange(rng, size)
    picture = textured_ground(rng, size)
    for group in groups:
        hue = rng.random()
        for stamp in group:
            _paint(rng, picture, stamp, hue)
    objects = [SceneObject(group[0].label, owner == index, len(group) > 1) for index, group in enumerate(groups)]
    picture += rng.normal(0, 2, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), objects


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
    """The part of the stamp that lies on the picture, and the window of the picture below it."""
    side = len(stamp.coverage)
    starts = [max(0, corner) for corner in stamp.corner]
    stops = [
        max(start, min(limit, corner + side)) for start, limit, corner in zip(starts, size, stamp.corner, strict=True)
    ]
    inside = [slice(a - corner, b - corner) for a, b, corner in zip(starts, stops, stamp.corner, strict=True)]
    return (inside[0], inside[1]), (slice(starts[0], stops[0]), slice(starts[1], stops[1]))


def _paint(rng: np.random.Generator, picture: Rgb, stamp: _Stamp, hue: float) -> None:
    """Blend a stamp into the picture in place: a soft shadow first, then a shaded body."""
    inside, window = _overlap(stamp, (picture.shape[0], picture.shape[1]))
    colour = _contrasting_colour(rng, picture[window].mean(axis=(0, 1)), hue)
    _cast_shadow(picture, stamp)
    coverage = stamp.coverage[inside][..., None]  # [h', w', 1]
    light = np.linspace(1.12, 0.86, len(stamp.coverage), dtype=np.float32)[inside[0]][:, None, None]
    body = colour * light + rng.normal(0, 4, coverage.shape)
    picture[window] = picture[window] * (1 - coverage) + body * coverage


def _cast_shadow(picture: Rgb, stamp: _Stamp) -> None:
    reach = 2 + len(stamp.coverage) // 30
    wide = (np.pad(stamp.coverage, reach) * 255).astype(np.uint8)
    blurred = np.asarray(Image.fromarray(wide).filter(ImageFilter.BoxBlur(reach / 2)), dtype=np.float32) / np.float32(
        255
    )
    shadow = _Stamp(stamp.label, blurred, (stamp.corner[0] - reach // 2, stamp.corner[1] - reach // 2))
    inside, window = _overlap(shadow, (picture.shape[0], picture.shape[1]))
    picture[window] *= 1 - _SHADOW * shadow.coverage[inside][..., None]


def _contrasting_colour(rng: np.random.Generator, ground: Rgb, hue: float) -> Rgb:
    for _ in range(20):
        colour = hsv(hue + rng.normal(0, 0.03), rng.uniform(0.35, 0.95), rng.uniform(0.35, 1.0))
        if np.linalg.norm(colour - ground) >= _MIN_CONTRAST:
            break
    return colour
