from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from brs_detr.cli.convert import command
from brs_detr.errors import UserError

XML = """<annotation><object><name>cell</name>
<bndbox><xmin>{0}</xmin><ymin>{0}</ymin><xmax>8</xmax><ymax>8</ymax></bndbox></object></annotation>"""


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    folder = tmp_path / "voc"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for number, stem in ((2, "good"), (8, "flat")):
        Image.new("RGB", (9, 9)).save(folder / "JPEGImages" / f"{stem}.png")
        (folder / "Annotations" / f"{stem}.xml").write_text(XML.format(number))
    (folder / "ImageSets" / "Main" / "train.txt").write_text("good\nflat\n")
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_it_says_what_was_written_and_dropped(voc: Path, tmp_path: Path) -> None:
    output = run(voc, tmp_path / "coco")
    assert "warning: zero-area box: 1 (annotation 2 (Annotations/flat.xml, object 1)" in output and "Dropped;" in output
    assert "train 2 images 1 boxes" in output and "Pascal VOC, classes: cell" in output
    assert f"--data {tmp_path / 'coco'}" in output
    assert (tmp_path / "coco" / "train" / "good.png").exists()


def test_a_folder_in_use_needs_overwrite(voc: Path, tmp_path: Path) -> None:
    run(voc, tmp_path / "coco", "--link")
    with pytest.raises(UserError, match="not empty"):
        run(voc, tmp_path / "coco")
    run(voc, tmp_path / "coco", "--overwrite")


def test_all_fatal_findings_are_in_one_message(voc: Path, tmp_path: Path) -> None:
    (voc / "JPEGImages" / "good.png").unlink()
    (voc / "Annotations" / "flat.xml").write_text("<annotation>")
    with pytest.raises(UserError, match=r"(?s)cannot be used:.*not valid XML.*missing image file: 1 .*good"):
        run(voc, tmp_path / "coco")
    assert not (tmp_path / "coco").exists()


def test_yolo_is_converted_by_its_yaml(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / "yolo" / name).mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "yolo" / "images" / "a.png")
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "yolo" / "data.yaml").write_text("train: images\nnames: [red cell]\n")
    output = run(tmp_path / "yolo" / "data.yaml", tmp_path / "coco", "--link")
    assert "train 1 images 1 boxes" in output and "YOLO, classes: red cell" in output
