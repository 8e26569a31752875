from __future__ import annotations

import numpy as np
import pytest

from brs_detr.data.formats.yolo_polygons import (
    POLYGON_ROW,
    TRACKED_ROW,
    UNCLEAR_ROW,
    is_unclear,
    kind_of_rows,
    shape_of,
)

FACE = [0.5, 0.4, 0.2, 0.3, 0.45, 0.35, 0.55, 0.35, 0.5, 0.4, 0.46, 0.48, 0.54, 0.48]


@pytest.mark.parametrize(
    ("numbers", "shape"),
    [
        ([0.5, 0.5, 0.2, 0.2], "box"),
        ([0.25, 0.5, 0.75, 0.125, 0.5, 0.875], "polygon"),
        ([0.25, 0.5, 0.5, 0.25, 0.75, 0.5, 0.5, 0.75], "polygon"),  # rotated box
        (FACE, "key points"),
        ([*FACE[:4], *[-1.0] * 10], "key points"),  # no landmark of this face was seen
        ([0.5, 0.4, 0.1, 0.1, 0.5, 0.4, 2, 0.48, 0.42, 1], "key points"),
        ([0.5, 0.4, 0.1, 0.1, 0.5, 0.4, 2, 0, 0, 0], "key points"),
        ([0.5, 0.8, 0.1, 0.1, 0.5, 0.8, 0.9, 0.48, 0.78, 0.7], "either"),  # with a confidence each
        ([0.5, 0.5, 0.45, 0.5, 0.4, 0.4], "either"),
        ([0.3, 0.57, 0.17, 0.32, 0.9, 1], "tracked"),  # box, confidence, number of the track
        ([0.3, 0.57, 0.17, 0.32, 0.9, 7], "tracked"),
        ([0.2, 0.4, 0.4, 0.4, 0.4, 0.7, 0.2, 0.7, 0.9, 7], "tracked"),  # behind a polygon
        ([0.2, 0.4, 0.4, 0.4, 0.4, 0.7, 0.2, 0.7, 0.9, 1], "polygon"),  # may end at the edge of the image
        ([0.6, 0.2, 0.9, 0.9, 0.3, 1], "polygon"),
    ],
)
def test_a_row_tells_what_it_can_be(numbers: list[float], shape: str) -> None:
    assert shape_of(numbers) == shape


def _polygons(rng: np.random.Generator, num_corners: int) -> list[list[float]]:
    """Corners around the middle of 40 objects, in order of their angle."""
    rows = []
    for middle, radius in zip(rng.uniform(0.2, 0.8, (40, 2)), rng.uniform(0.02, 0.2, 40), strict=True):
        angles = np.sort(rng.uniform(0, 2 * np.pi, num_corners))
        corners = middle + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
        rows.append(corners.ravel().tolist())
    return rows


def _faces(rng: np.random.Generator, num_points: int) -> list[list[float]]:
    """A box in the image and points in it, of 40 objects."""
    rows = []
    for middle, side in zip(rng.uniform(0.25, 0.75, (40, 2)), rng.uniform(0.03, 0.45, (40, 2)), strict=True):
        points = middle + side * rng.uniform(-0.5, 0.5, (num_points, 2))
        rows.append([*middle.tolist(), *side.tolist(), *points.ravel().tolist()])
    return rows


@pytest.mark.parametrize("num_points", [1, 2, 3, 5, 6, 17])
@pytest.mark.parametrize("seed", range(5))
def test_the_rows_of_a_data_set_together_tell_polygons_from_key_points(seed: int, num_points: int) -> None:
    rng = np.random.default_rng(seed)
    assert is_unclear(map(shape_of, _faces(rng, num_points)))
    assert not is_unclear(map(shape_of, _polygons(rng, num_points + 2)))


def test_rows_that_all_may_be_either_are_unclear_and_one_polygon_decides() -> None:
    assert is_unclear(["box", "either"]) and not is_unclear(["either", "polygon"])
    assert is_unclear(["polygon", "key points", "key points"]) and not is_unclear(["polygon", "key points"])
    assert not is_unclear(["box"]) and not is_unclear([])


def test_tracks_count_when_most_of_the_longer_rows_have_one() -> None:
    assert kind_of_rows(["box", "tracked"]) == TRACKED_ROW
    assert kind_of_rows(["tracked", "polygon", "polygon"]) == POLYGON_ROW
    assert kind_of_rows(["tracked", "either", "either"]) == UNCLEAR_ROW
    assert kind_of_rows(["box"]) == POLYGON_ROW
