from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brs_detr.data.checks.image_check import image_faults, image_notes, look_at_images, unlisted_images
from brs_detr.data.findings import kind_of
from brs_detr.data.images import read_sizes
from brs_detr.data.kinds import (
    DARK_IMAGE,
    LARGE_IMAGE,
    MISNAMED_IMAGE,
    MISSING_IMAGE,
    PAGED_IMAGE,
    PLAIN_IMAGES,
    UNREADABLE_IMAGE,
)
from brs_detr.runtime.images import UnreadableImage


def entry(name: str, **fields: object) -> dict:
    return {"id": 7, "file_name": name, "width": 40, "height": 30, **fields}


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(path)


def test_only_a_thorough_look_takes_fingerprints(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    steps: list[tuple[int, int]] = []
    (quick,) = look_at_images([entry("a.png")], tmp_path, progress=lambda *step: steps.append(step))
    (thorough,) = look_at_images([entry("a.png")], tmp_path, is_thorough=True)
    assert quick.fault is thorough.fault is None and steps == [(1, 1)]
    assert quick.fingerprint is None and thorough.fingerprint is not None


def test_faults_name_id_source_and_file(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_text("no")
    images = [entry("gone.png", source="labels/gone.txt"), entry("b.png"), entry("c/../gone.png")]
    missing, unreadable = image_faults(look_at_images(images, tmp_path))
    assert (missing.kind, missing.count, unreadable.kind) == (MISSING_IMAGE, 2, UNREADABLE_IMAGE)
    assert missing.examples[0] == f"image 7 (labels/gone.txt), {tmp_path / 'gone.png'}"
    assert missing.shown[1].file_name == "gone.png" and missing.shown[0].image_id == 7
    assert unreadable.examples == (f"image 7, {tmp_path / 'b.png'}: it is not an image",)


@pytest.mark.parametrize(
    ("stated", "there", "named"),
    [
        ("a.jpg", ["a.png"], "a.png"),
        ("a", ["a.png"], "a.png"),
        ("a.png", ["1/a.png", "2/A.PNG"], "1/a.png, 2/A.PNG"),
        ("x\\my%20a.png ", ["my a.png", "other.png"], "my a.png"),
    ],
)
def test_files_of_a_similar_name_are_named(tmp_path: Path, stated: str, there: list[str], named: str) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path / name)
    (found,) = image_faults(look_at_images([entry(stated)], tmp_path))
    assert found.kind == MISNAMED_IMAGE and found.examples[0].endswith(f", but there is: {named}")


def test_a_file_that_is_listed_is_not_named_for_another(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    save(tmp_path / "1" / "a.png")
    (found,) = image_faults(look_at_images([entry("1/a.png"), entry("2/a.png")], tmp_path))
    assert found.kind == MISSING_IMAGE


def notes(folder: Path, pictures: dict[str, Image.Image]) -> dict[str, tuple[str, ...]]:
    for name, picture in pictures.items():
        picture.save(folder / name)
    images = [entry(name) for name in pictures]
    looks = look_at_images(images, folder, is_thorough=True)
    found = image_notes({"images": images, "annotations": [{"image_id": 7}]}, looks)
    return {finding.kind.what: finding.examples for finding in found}


def test_images_that_use_the_low_ones_of_16_bits_are_called_dark(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 1200).reshape(30, 40)
    low, high = (Image.fromarray((ramp * most).astype(np.uint16)) for most in (4095, 65535))
    pictures = {"a.png": low, "b.tif": low, "c.png": high, "d.png": Image.new("L", (40, 30), 9)}
    (examples,) = [examples for what, examples in notes(tmp_path, pictures).items() if what == DARK_IMAGE.what]
    assert [Path(text.split(": ")[0]).name for text in examples] == ["a.png", "b.tif"]
    assert examples[0].endswith("the brightest pixel becomes 15 of 255")


def test_a_split_of_plain_images_is_told(tmp_path: Path) -> None:
    plain = Image.new("RGB", (40, 30), (1, 2, 3))
    other = plain.copy()
    other.putpixel((39, 29), (1, 2, 4))
    assert len(notes(tmp_path, {"a.png": plain, "b.png": Image.new("L", (40, 30))})[PLAIN_IMAGES.what]) == 2
    assert notes(tmp_path, {"a.png": plain, "b.png": other}) == {}


def test_a_folder_in_the_place_of_an_image_is_missing(tmp_path: Path) -> None:
    (missing,) = image_faults(look_at_images([entry("")], tmp_path))
    assert missing.kind == MISSING_IMAGE


def test_unlisted_images_are_those_that_nobody_names(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.png", ".hidden.png", ".cache/c.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    (found,) = unlisted_images(tmp_path, {(tmp_path / "a.png").resolve()})
    assert found.file_name == "deep/b.png" and found.files == (tmp_path / "deep" / "b.png",)


def test_a_large_image_has_a_cure_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png")
    monkeypatch.setenv("BRS_DETR_MAX_PIXELS", "1199")
    (large,) = image_faults(look_at_images([entry("a.png")], tmp_path))
    (size,) = read_sizes([tmp_path / "a.png"])
    assert isinstance(size, UnreadableImage) and large.kind == kind_of(size) == LARGE_IMAGE
    assert large.examples[0].endswith("a.png: it has 1,200 pixels, more than 1,199")
    assert "Cut it" in large.kind.cure and "BRS_DETR_MAX_PIXELS" in large.kind.cure


def test_a_good_image_of_several_pages_is_noted(tmp_path: Path) -> None:
    page = Image.new("RGB", (40, 30))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    looks = look_at_images([entry("a.tif")], tmp_path)
    (paged,) = image_notes({"images": [entry("a.tif")], "annotations": [{"image_id": 7}]}, looks)
    assert (paged.kind, paged.count, paged.total) == (PAGED_IMAGE, 1, 1)
