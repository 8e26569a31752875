from __future__ import annotations

from pathlib import Path

import numpy as np

from brs_detr.data.checks.fingerprint import NUM_BITS, Fingerprint
from brs_detr.data.checks.image_check import ImageLook
from brs_detr.data.checks.twins import (
    LEAKED_IMAGE,
    REPEATED_IMAGE,
    SAME_SPLITS,
    SIMILAR_IMAGE,
    Picture,
    decoded_pictures,
    find_leaks,
    find_repeated,
)

OUTLINES = {name: np.random.default_rng(ord(name)).random(NUM_BITS) < 0.5 for name in "xyz"}


def picture(split: str, number: int, pixels: str, outline: str | None = None, path: str | None = None) -> Picture:
    name = path or f"{split}{number}.jpg"
    fingerprint = Fingerprint(pixels.encode(), None if outline is None else OUTLINES[outline])
    return Picture(split, {"id": number, "file_name": name}, Path(split) / name, fingerprint)


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
    assert (same.kind, same.examples) == (SAME_SPLITS, ("every picture of val, 1, is in train too",))
    assert leaked.kind == LEAKED_IMAGE
    assert next(find_leaks([val, train])).examples == ("every picture of val, 1, is in train too",)


def test_featureless_pictures_are_not_similar() -> None:
    assert list(find_leaks([[picture("train", 1, "p")], [picture("val", 1, "q")]])) == []


def test_the_same_name_with_other_pixels_is_fine() -> None:
    splits = [[picture("train", 1, "p", "x", "a.jpg")], [picture("val", 1, "q", "y", "a.jpg")]]
    assert list(find_leaks(splits)) == []


def test_images_that_were_not_decoded_are_left_out() -> None:
    looks = [ImageLook(Path("a.jpg")), ImageLook(Path("b.jpg"), fingerprint=Fingerprint(b"p", None))]
    (found,) = decoded_pictures("train", [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}], looks)
    assert found.path == Path("b.jpg") and str(found) == "train image 2 (b.jpg)"
