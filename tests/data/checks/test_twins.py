from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brs_detr.data.checks.twins import (
    MAX_DIFFERENCE,
    NUM_BITS,
    DecodedImage,
    Fingerprint,
    find_leaks,
    find_repeated,
    near_pairs,
    read_fingerprint,
)
from brs_detr.data.kinds import LEAKED_IMAGE, REPEATED_IMAGE, SAME_SPLITS, SIMILAR_IMAGE

OUTLINES = {name: np.random.default_rng(ord(name)).random(NUM_BITS) < 0.5 for name in "xyz"}


def picture(split: str, number: int, pixels: str, outline: str | None = None, path: str | None = None) -> DecodedImage:
    name = path or f"{split}{number}.jpg"
    fingerprint = Fingerprint(pixels.encode(), None if outline is None else OUTLINES[outline])
    return DecodedImage(split, {"id": number, "file_name": name}, Path(split) / name, fingerprint)


def test_pictures_of_one_split_are_repeated_when_all_pixels_agree() -> None:
    split = [picture("train", 1, "p", "x"), picture("train", 2, "q", "x"), picture("train", 3, "p", "x")]
    (finding,) = find_repeated(split)
    assert (finding.kind, finding.count) == (REPEATED_IMAGE, 1)
    assert finding.examples == ("train image 3 (train3.jpg), as train image 1 (train1.jpg)",)
    assert finding.shown[0].files == (Path("train/train1.jpg"), Path("train/train3.jpg"))


def test_one_file_that_is_listed_twice_is_not_repeated() -> None:
    assert list(find_repeated([picture("train", 1, "p", path="a.jpg"), picture("train", 2, "p", path="a.jpg")])) == []


def test_leaks_are_found_between_all_splits() -> None:
    train = [picture("train", 1, "p", "x"), picture("train", 2, "q", "y")]
    val = [picture("val", 1, "p", "x"), picture("val", 2, "r", "z")]
    test = [picture("test", 1, "r", "z"), picture("test", 2, "s", "y")]
    leaked, similar = find_leaks([train, val, test])
    assert (leaked.kind, leaked.count) == (LEAKED_IMAGE, 2)
    assert leaked.examples[1] == "test image 1 (test1.jpg), as val image 2 (val2.jpg)"
    assert (similar.kind, similar.count) == (SIMILAR_IMAGE, 1)
    assert similar.examples == ("test image 2 (test2.jpg), as train image 2 (train2.jpg)",)


def test_a_split_that_lies_in_another_one_is_named() -> None:
    train = [picture("train", 1, "p"), picture("train", 2, "q")]
    val = [picture("val", 1, "q")]
    same, leaked = find_leaks([train, val])
    assert (same.kind, same.examples) == (SAME_SPLITS, ("every image of val, 1, is in train too",))
    assert leaked.kind == LEAKED_IMAGE
    assert next(find_leaks([val, train])).examples == ("every image of val, 1, is in train too",)


def test_featureless_pictures_are_not_similar() -> None:
    assert list(find_leaks([[picture("train", 1, "p")], [picture("val", 1, "q")]])) == []


def test_the_same_name_with_other_pixels_is_fine() -> None:
    splits = [[picture("train", 1, "p", "x", "a.jpg")], [picture("val", 1, "q", "y", "a.jpg")]]
    assert list(find_leaks(splits)) == []


def drawn(seed: int = 0, size: tuple[int, int] = (320, 240)) -> Image.Image:
    blocks = np.random.default_rng(seed).integers(0, 255, (15, 20, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)


def difference(first: Path, second: Path) -> int:
    outlines = [read_fingerprint(path).outline for path in (first, second)]
    assert outlines[0] is not None and outlines[1] is not None
    return int((outlines[0] != outlines[1]).sum())


def test_equal_pixels_are_known_in_any_format(tmp_path: Path) -> None:
    drawn().save(tmp_path / "a.jpg")
    Image.open(tmp_path / "a.jpg").save(tmp_path / "b.png")
    drawn(1).save(tmp_path / "c.png")
    a, b, c = (read_fingerprint(tmp_path / name).pixels for name in ("a.jpg", "b.png", "c.png"))
    assert a == b != c


def test_pixels_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn().save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = Image.open(tmp_path / "a.jpg").transpose(Image.Transpose.ROTATE_270)
    upright.save(tmp_path / "b.png")
    assert read_fingerprint(tmp_path / "a.jpg").pixels == read_fingerprint(tmp_path / "b.png").pixels


@pytest.mark.parametrize(("size", "quality"), [((320, 240), 40), ((160, 120), 90), ((416, 416), 75)])
def test_an_outline_survives_saving_again(tmp_path: Path, size: tuple[int, int], quality: int) -> None:
    drawn().save(tmp_path / "a.png")
    drawn().resize(size).save(tmp_path / "b.jpg", quality=quality)
    assert difference(tmp_path / "a.png", tmp_path / "b.jpg") <= MAX_DIFFERENCE


def test_outlines_of_different_pictures_are_far_apart(tmp_path: Path) -> None:
    for seed in (0, 1):
        drawn(seed).save(tmp_path / f"{seed}.png")
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
