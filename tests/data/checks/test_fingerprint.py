from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brs_detr.data.checks.fingerprint import MAX_DIFFERENCE, NUM_BITS, near_pairs, read_fingerprint


def picture(seed: int = 0, size: tuple[int, int] = (320, 240)) -> Image.Image:
    blocks = np.random.default_rng(seed).integers(0, 255, (15, 20, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)


def difference(first: Path, second: Path) -> int:
    outlines = [read_fingerprint(path).outline for path in (first, second)]
    assert outlines[0] is not None and outlines[1] is not None
    return int((outlines[0] != outlines[1]).sum())


def test_equal_pixels_are_known_in_any_format(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg")
    Image.open(tmp_path / "a.jpg").save(tmp_path / "b.png")
    picture(1).save(tmp_path / "c.png")
    a, b, c = (read_fingerprint(tmp_path / name).pixels for name in ("a.jpg", "b.png", "c.png"))
    assert a == b != c


def test_pixels_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = Image.open(tmp_path / "a.jpg").transpose(Image.Transpose.ROTATE_270)
    upright.save(tmp_path / "b.png")
    assert read_fingerprint(tmp_path / "a.jpg").pixels == read_fingerprint(tmp_path / "b.png").pixels


@pytest.mark.parametrize(("size", "quality"), [((320, 240), 40), ((160, 120), 90), ((416, 416), 75)])
def test_an_outline_survives_saving_again(tmp_path: Path, size: tuple[int, int], quality: int) -> None:
    picture().save(tmp_path / "a.png")
    picture().resize(size).save(tmp_path / "b.jpg", quality=quality)
    assert difference(tmp_path / "a.png", tmp_path / "b.jpg") <= MAX_DIFFERENCE


def test_outlines_of_different_pictures_are_far_apart(tmp_path: Path) -> None:
    for seed in (0, 1):
        picture(seed).save(tmp_path / f"{seed}.png")
    assert difference(tmp_path / "0.png", tmp_path / "1.png") > 4 * MAX_DIFFERENCE


@pytest.mark.parametrize("featureless", ["flat", "shade"])
def test_a_featureless_picture_has_no_outline(tmp_path: Path, featureless: str) -> None:
    levels = np.full((48, 64), 90) if featureless == "flat" else np.tile(np.arange(64) * 3, (48, 1))
    Image.fromarray(levels.astype(np.uint8)).save(tmp_path / "a.png")
    assert read_fingerprint(tmp_path / "a.png").outline is None


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "1"])
def test_every_mode_has_a_fingerprint(tmp_path: Path, mode: str) -> None:
    levels = np.random.default_rng(0).integers(0, 255, (30, 40))
    image = Image.fromarray(levels.astype(np.uint16 if mode == "I;16" else np.uint8))
    (image if mode == "I;16" else image.convert(mode)).save(tmp_path / "a.tif")
    assert len(read_fingerprint(tmp_path / "a.tif").pixels) == 16


def test_near_pairs_are_those_that_counting_bits_finds() -> None:
    rng = np.random.default_rng(0)
    first = list(rng.random((30, NUM_BITS)) < 0.5)
    second = [outline ^ (rng.random(NUM_BITS) < share) for outline in first for share in (0.02, 0.06, 0.1)]
    expected = [(i, j) for i, a in enumerate(first) for j, b in enumerate(second) if (a != b).sum() <= MAX_DIFFERENCE]
    assert list(near_pairs(first, second)) == expected and 30 < len(expected) < 90
    assert list(near_pairs([], second)) == list(near_pairs(first, [])) == []
