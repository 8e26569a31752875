from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from brs_detr.report.pictures import contact_sheet


def area(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == colour).all(axis=2).sum())


def test_a_contact_sheet_has_equal_cells_in_rows() -> None:
    images = [Image.new("RGB", (200, 100), colour) for colour in ("red", "lime", "blue")]
    sheet = contact_sheet(images, columns=2, cell_width=200)
    gap = 5
    assert sheet.size == (2 * 200 + 3 * gap, 2 * 100 + 3 * gap)
    assert sheet.getpixel((gap + 100, gap + 50)) == (255, 0, 0)
    assert sheet.getpixel((2 * gap + 300, gap + 50)) == (0, 255, 0)
    assert sheet.getpixel((gap + 100, 2 * gap + 150)) == (0, 0, 255)
    assert sheet.getpixel((2 * gap + 300, 2 * gap + 150)) == (255, 255, 255)


def test_a_contact_sheet_keeps_proportions_and_writes_captions() -> None:
    images = [Image.new("RGB", (100, 100), "red"), Image.new("RGB", (50, 100), "blue")]
    plain = contact_sheet(images, cell_width=100)
    assert area(plain, (0, 0, 255)) == 100 * 200
    assert area(plain, (255, 0, 0)) == 100 * 100
    assert contact_sheet(images, captions=["a", "b"], cell_width=100).height > plain.height


def test_impossible_sheets_are_refused() -> None:
    image = Image.new("RGB", (9, 9))
    for images, columns, captions in (([], 1, None), ([image], 0, None), ([image], 1, ["a", "b"])):
        with pytest.raises(ValueError, match="cannot lay out"):
            contact_sheet(images, columns, captions)
