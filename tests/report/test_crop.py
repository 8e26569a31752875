from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brs_detr.report.crop import crop_box, load_upright

RED = (255, 0, 0)
GREY = (128, 128, 128)


def picture() -> Image.Image:
    """Make an image of 200 x 100, green on the left, blue on the right."""
    pixels = np.zeros((100, 200, 3), dtype=np.uint8)
    pixels[:, :100, 1] = pixels[:, 100:, 2] = 255
    return Image.fromarray(pixels)


def test_a_view_is_square_and_shows_the_surroundings() -> None:
    view = crop_box(picture(), [70, 30, 110, 60], RED, side=120)
    assert view.size == (120, 120) and view.mode == "RGB"
    assert view.getpixel((5, 5)) == (0, 255, 0) and view.getpixel((115, 60)) == (0, 0, 255)
    red = np.argwhere((np.asarray(view) == RED).all(axis=2))
    scale = 120 / 68  # the window is 1.7 times the longer side
    assert red.min(axis=0) == pytest.approx([22.5 * scale - 3, 14 * scale], abs=8)
    assert np.ptp(red, axis=0) == pytest.approx([30 * scale, 40 * scale], abs=3)


def test_the_window_stays_in_the_picture_with_its_box() -> None:
    view = crop_box(picture(), [0, 0, 30, 30], RED)
    assert view.getpixel((159, 159)) == (0, 255, 0)
    assert GREY not in {view.getpixel(corner) for corner in ((0, 159), (159, 0), (159, 159))}


def test_beyond_the_picture_all_is_grey() -> None:
    view = crop_box(picture(), [-60, 20, -20, 60], RED, min_window=160)
    assert view.getpixel((2, 80)) == GREY and view.getpixel((157, 80)) == (0, 255, 0)
    far = crop_box(picture(), [900, 900, 950, 950], RED)
    assert {GREY, RED} <= set(far.get_flattened_data() if hasattr(far, "get_flattened_data") else far.getdata())
    assert far.getpixel((0, 0)) == GREY


@pytest.mark.parametrize("box", [[50, 50, 50, 50], [50, 50, 40, 60], [50, 20, 50.2, 80]])
def test_a_box_without_area_can_be_seen(box: list[float]) -> None:
    assert (np.asarray(crop_box(picture(), box, RED)) == RED).all(axis=2).sum() > 40


@pytest.mark.parametrize("box", [[0, 0, 1e308, 1e308], [-1e300, 5, 1e9, 6], [1e200, 1e200, 1e200, 1e200]])
def test_a_box_that_reaches_far_beyond_is_drawn_too(box: list[float]) -> None:
    assert crop_box(picture(), box, (255, 0, 0)).size == (160, 160)


def test_a_box_as_large_as_the_picture_is_shown_whole() -> None:
    view = np.asarray(crop_box(picture(), [0, 0, 200, 100], RED))
    assert (view[:, :80] == (0, 255, 0)).all(axis=2).any() and (view[:, 80:] == (0, 0, 255)).all(axis=2).any()


def test_pictures_are_loaded_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / "a.jpg", exif=exif)
    assert load_upright(tmp_path / "a.jpg").size == (100, 200)
