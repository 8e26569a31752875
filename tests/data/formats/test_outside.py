"""However a path leads out of the data folder, it is named, and nothing is copied through it unless that is allowed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from good_data import CLASS_NAMES, WRITERS, edit_coco, edit_text, write_good_yolo

from brs_detr.data.checks.check_source import check_source
from brs_detr.data.findings import Finding
from brs_detr.data.formats.outside import OUTSIDE_FILE
from brs_detr.data.formats.source import open_source
from brs_detr.data.formats.voc_file import STATED_OUTSIDE
from brs_detr.data.writing.convert import convert
from brs_detr.data.writing.fix import fix_source
from brs_detr.errors import UserError


def link_out(path: Path) -> Path:
    """Put a link in the place of a file or folder, which goes out of the data folder."""
    target = path.parents[len(path.parts) - path.parts.index("set") - 1] / "else" / path.name
    target.parent.mkdir(exist_ok=True)
    shutil.move(path, target)
    path.symlink_to(target)
    return target


def rename_image(name: Callable[[Path], str]) -> Callable[[Path], Path]:
    """Let a COCO file name an image outside."""

    def rename(folder: Path) -> Path:
        target = folder.parent / "else" / "t00.jpg"
        target.parent.mkdir()
        shutil.move(folder / "train" / "t00.jpg", target)
        edit_coco(folder, lambda data: data["images"][0].update(file_name=name(target)))
        return target

    return rename


def list_outside(name: Callable[[Path], str]) -> Callable[[Path], Path]:
    """Let a list of a YOLO data set name an image outside."""

    def write(folder: Path) -> Path:
        target = folder.parent / "else" / "t00.jpg"
        target.parent.mkdir()
        shutil.move(folder / "images/train/t00.jpg", target)
        shutil.move(folder / "labels/train/t00.txt", target.with_suffix(".txt"))
        images = [path.relative_to(folder).as_posix() for path in sorted((folder / "images/train").iterdir())]
        (folder / "train.txt").write_text("\n".join([*images, name(target)]))
        edit_text(folder / "data.yaml", "images/train", "train.txt")
        return target

    return write


def path_outside(folder: Path) -> Path:
    target = folder.parent / "else"
    target.mkdir()
    for name in ("images", "labels"):
        shutil.move(folder / name, target / name)
    edit_text(folder / "data.yaml", "train:", f"path: {target}\ntrain:")
    return target


def folder_outside(folder: Path) -> Path:
    for kind in ("images", "labels"):
        (folder.parent / "else" / kind).mkdir(parents=True)
        shutil.move(folder / kind / "train", folder.parent / "else" / kind / "part")
    edit_text(folder / "data.yaml", "images/train", "../else/images/part")
    return folder.parent / "else" / "images" / "part"


def names_outside(folder: Path) -> Path:
    (folder / "data.yaml").unlink()
    (folder / "classes.txt").write_text("\n".join(CLASS_NAMES))
    return link_out(folder / "classes.txt")


OUTSIDE: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "COCO, ..": (
        "COCO",
        rename_image(lambda file: f"../../else/{file.name}"),
        r"\.\./\.\./else/t00\.jpg of train\.json",
    ),
    "COCO, absolute": ("COCO", rename_image(str), r"else/t00\.jpg of train\.json"),
    "COCO, image linked": ("COCO", lambda folder: link_out(folder / "train/t03.jpg"), r"t03\.jpg of train\.json"),
    "COCO, folder linked": ("COCO", lambda folder: link_out(folder / "train"), r"t00\.jpg of train\.json"),
    "COCO, annotations linked": ("COCO", lambda folder: link_out(folder / "annotations/train.json"), r"train\.json"),
    "VOC, image linked": ("Pascal VOC", lambda folder: link_out(folder / "JPEGImages/t03.jpg"), r"JPEGImages/t03\.jpg"),
    "VOC, folder linked": ("Pascal VOC", lambda folder: link_out(folder / "JPEGImages"), r"JPEGImages/t00\.jpg"),
    "VOC, file linked": (
        "Pascal VOC",
        lambda folder: link_out(folder / "Annotations/t03.xml"),
        r"Annotations/t03\.xml",
    ),
    "VOC, list linked": (
        "Pascal VOC",
        lambda folder: link_out(folder / "ImageSets/Main/train.txt"),
        r"ImageSets/Main/train\.txt",
    ),
    "YOLO, image linked": ("YOLO", lambda folder: link_out(folder / "images/train/t03.jpg"), r"images/train/t03\.jpg"),
    "YOLO, folder linked": (
        "YOLO",
        lambda folder: link_out(folder / "images/train"),
        r"train images/train of data\.yaml",
    ),
    "YOLO, label linked": ("YOLO", lambda folder: link_out(folder / "labels/train/t03.txt"), r"labels/train/t03\.txt"),
    "YOLO, labels linked": ("YOLO", lambda folder: link_out(folder / "labels"), r"labels/train/t00\.txt"),
    "YOLO, names linked": ("YOLO", names_outside, r"classes\.txt"),
    "YOLO, yaml linked": ("YOLO", lambda folder: link_out(folder / "data.yaml"), r"data\.yaml"),
    "YOLO, path": ("YOLO", path_outside, r"path .*else of data\.yaml"),
    "YOLO, train": ("YOLO", folder_outside, r"train \.\./else/images/part of data\.yaml"),
    "YOLO, list with ..": ("YOLO", list_outside(lambda file: f"../else/{file.name}"), r"t00\.jpg, named in train\.txt"),
    "YOLO, list, absolute": ("YOLO", list_outside(str), r"t00\.jpg, named in train\.txt"),
}


def found(folder: Path) -> list[Finding]:
    placed = check_source(open_source(folder)).placed_findings
    return [finding for _, finding in placed if finding.kind == OUTSIDE_FILE]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("link", [False, True])
@pytest.mark.fault(
    "Images and annotations",
    "19 ways by which a data set leads to files outside of its folder: `..`, absolute paths, links",
    "named with where they lead; `convert` and `check --fix` copy none of them unless that is allowed",
)
def test_it_is_a_warning_and_nothing_is_copied_unless_allowed(tmp_path: Path, name: str, link: bool) -> None:
    form, lead_out, words = OUTSIDE[name]
    folder = WRITERS[form](tmp_path / "set")
    target = lead_out(folder)
    report = check_source(open_source(folder))
    assert report.is_trainable
    texts = [example.text for finding in found(folder) for example in finding.shown]
    assert any(str(target) in text for text in texts)
    with pytest.raises(UserError, match=f"lie outside of it: .*{words}.*") as caught:
        convert(folder, tmp_path / "coco", link)
    assert "--allow-outside" in str(caught.value)
    with pytest.raises(UserError, match="lie outside of it"):
        fix_source(report, tmp_path / "fixed", link)
    assert {path.name for path in tmp_path.iterdir()} == {"set", "else"}
    splits = convert(folder, tmp_path / "coco", link, allow_outside=True).splits.values()
    assert sum(split.num_boxes for split in splits) == 34
    fix_source(report, tmp_path / "fixed", link, allow_outside=True)
    for copy in (tmp_path / "coco", tmp_path / "fixed"):
        images = [path for path in copy.rglob("*.*g") if path.is_file()]
        assert len(images) == 17 and not any(path.is_symlink() for path in copy.rglob("*"))


@pytest.mark.parametrize("form", WRITERS)
def test_a_link_to_the_data_folder_and_links_within_it_are_none(tmp_path: Path, form: str) -> None:
    folder = WRITERS[form](tmp_path / "set")
    image = next(path for path in sorted(folder.rglob("*.jpg")))
    image.rename(folder / "kept.bin")
    image.symlink_to(os.path.relpath(folder / "kept.bin", image.parent))
    (tmp_path / "linked").symlink_to(folder)
    assert found(tmp_path / "linked") == [] and found(folder) == []


@pytest.mark.parametrize("file", ["annotations/train.json", "."])
def test_the_images_beside_the_folder_of_annotations_are_inside(tmp_path: Path, file: str) -> None:
    assert found(WRITERS["COCO"](tmp_path / "set") / file) == []


def test_a_yaml_file_below_the_folder_may_lead_to_all_of_it(tmp_path: Path) -> None:
    folder = write_good_yolo(tmp_path / "set")
    (folder / "config").mkdir()
    (folder / "data.yaml").rename(folder / "config" / "data.yaml")
    edit_text(folder / "config" / "data.yaml", "train:", "path: ..\ntrain:")
    assert found(folder) == [] and found(folder / "config" / "data.yaml") != []


def test_what_stands_in_a_file_outside_is_not_quoted(tmp_path: Path) -> None:
    folder = write_good_yolo(tmp_path / "set")
    (folder / "labels/train/t03.txt").write_text("password hunter2\n")
    link_out(folder / "labels/train/t03.txt")
    record = json.dumps(check_source(open_source(folder)).record())
    assert "labels/train/t03.txt, line 1" in record and "hunter2" not in record


@pytest.mark.parametrize("text", ["<filename>../../else/t03.jpg", "<filename>/else/t03.jpg", "<folder>..\\else"])
def test_names_in_voc_files_are_not_followed(tmp_path: Path, text: str) -> None:
    folder = WRITERS["Pascal VOC"](tmp_path / "set")
    tag = text[: text.index(">") + 1]
    edit_text(folder / "Annotations/t03.xml", "<annotation>", f"<annotation>{text}{tag.replace('<', '</')}")
    (placed,) = check_source(open_source(folder)).placed_findings
    assert placed.finding.kind == STATED_OUTSIDE
    assert placed.finding.examples == (f"Annotations/t03.xml: {text.removeprefix(tag)}",)


@pytest.mark.parametrize("line", ["../../else/t99", "../else/Annotations/t99.xml", "/else/t99.xml"])
def test_lists_of_voc_lead_nowhere_else(tmp_path: Path, line: str) -> None:
    folder = WRITERS["Pascal VOC"](tmp_path / "set")
    (folder.parent / "else" / "Annotations").mkdir(parents=True)
    for place in ("", "Annotations"):
        shutil.copy(folder / "Annotations/t03.xml", folder.parent / "else" / place / "t99.xml")
    edit_text(folder / "ImageSets/Main/train.txt", "t03", f"t03\n{line}")
    (placed,) = check_source(open_source(folder)).of_severity("error")
    assert "t99.xml, named in ImageSets/Main/train.txt" in placed.finding.examples[0]


def test_a_link_in_the_place_of_the_result_is_not_followed(tmp_path: Path) -> None:
    folder = WRITERS["COCO"](tmp_path / "set")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "train.json").write_text("kept")
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    (tmp_path / "coco" / "annotations" / "train.json").symlink_to(tmp_path / "else" / "train.json")
    (tmp_path / "coco" / "train").symlink_to(tmp_path / "else")
    convert(folder, tmp_path / "coco", overwrite=True)
    assert [path.name for path in (tmp_path / "else").iterdir()] == ["train.json"]
    assert (tmp_path / "else" / "train.json").read_text() == "kept"
    assert not any(path.is_symlink() for path in (tmp_path / "coco").rglob("*"))
