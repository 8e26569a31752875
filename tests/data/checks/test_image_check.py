from __future__ import annotations

from pathlib import Path

from PIL import Image

from brs_detr.data.checks.image_check import image_faults, look_at_images, unlisted_images
from brs_detr.data.findings import MISSING_IMAGE, UNREADABLE_IMAGE


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


def test_a_folder_in_the_place_of_an_image_is_missing(tmp_path: Path) -> None:
    (missing,) = image_faults(look_at_images([entry("")], tmp_path))
    assert missing.kind == MISSING_IMAGE


def test_unlisted_images_are_those_that_nobody_names(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.png", ".hidden.png", ".cache/c.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    (found,) = unlisted_images(tmp_path, {(tmp_path / "a.png").resolve()})
    assert found.file_name == "deep/b.png" and found.files == (tmp_path / "deep" / "b.png",)
