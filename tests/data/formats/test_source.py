from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import good_data
import pytest
import same_data
from good_data import WRITERS, edit_coco, edit_text, write_good_yolo
from same_data import CLASS_NAMES, OBJECTS, WITH_SPLITS, WITHOUT_SPLITS, write_json, write_texts

from brs_detr.data.checks.check import check_source, find_faults
from brs_detr.data.findings import Finding
from brs_detr.data.formats.coco_folder import CocoSplit, shared_class_names
from brs_detr.data.formats.source import open_source
from brs_detr.data.formats.splits import place_splits
from brs_detr.data.kinds import OUTSIDE_FILE, STATED_OUTSIDE
from brs_detr.data.loading.registry import register
from brs_detr.data.writing.convert import convert, fix_source
from brs_detr.errors import UserError

register()


def targets(split: CocoSplit, names: list[str]) -> dict[str, list[tuple[list[float], int]]]:
    """Boxes (x1, y1, x2, y2) and labels that training sees, by image file name."""
    from brs_detr.data.loading.dataset import CocoFolderDataset

    dataset = CocoFolderDataset(
        ann_file=str(split.annotation_file),
        data_prefix={"img": str(split.image_dir)},
        metainfo={"classes": tuple(names)},
        pipeline=[],
    )
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert all(Path(info["img_path"]).is_file() for info in infos)
    return {
        Path(info["img_path"]).name: [(thing["bbox"], thing["bbox_label"]) for thing in info["instances"]]
        for info in infos
    }


def expected(stems: tuple[str, ...]) -> dict[str, list[tuple[list[float], int]]]:
    return {
        f"{stem}.jpg": [(list(map(float, box)), CLASS_NAMES.index(name)) for name, box in OBJECTS[stem]]
        for stem in stems
    }


@pytest.mark.parametrize("layout", WITH_SPLITS)
def test_every_format_gives_the_same_training_targets_bit_by_bit(tmp_path: Path, layout: str) -> None:
    source = open_source(WITH_SPLITS[layout](tmp_path / "set"))
    assert list(source.splits) == ["train", "val"]
    splits = place_splits(source, tmp_path / "run", seed=0)
    names = shared_class_names(splits)
    assert names == CLASS_NAMES
    for name, stems in same_data.SPLITS.items():
        assert targets(splits[name], names) == expected(stems)
        assert [str(finding) for finding in find_faults(source.splits[name]).fatal] == []


@pytest.mark.parametrize("layout", WITHOUT_SPLITS)
def test_data_without_splits_are_divided_into_the_same_targets(tmp_path: Path, layout: str) -> None:
    source = open_source(WITHOUT_SPLITS[layout](tmp_path / "set"))
    assert list(source.splits) == ["all"] and find_faults(source.splits["all"]).fatal == ()
    splits = place_splits(source, tmp_path / "run", seed=0, val_fraction=0.3)
    names = shared_class_names(splits)
    train, val = (targets(splits[name], names) for name in ("train", "val"))
    assert names == CLASS_NAMES and train and val and not train.keys() & val.keys()
    assert {**train, **val} == expected(tuple(OBJECTS))


@pytest.mark.parametrize(
    ("layout", "path", "format_name"),
    [
        ("COCO by Label Studio", "result.json", "COCO"),
        ("COCO by CVAT", "annotations/instances_default.json", "COCO"),
        ("COCO by CVAT", "annotations", "COCO"),
        ("COCO, ids from 1, listed backwards", "annotations/instances_train.json", "COCO"),
        ("COCO by Roboflow", "valid/_annotations.coco.json", "COCO"),
        ("Pascal VOC", "Annotations", "Pascal VOC"),
        ("Pascal VOC", "ImageSets", "Pascal VOC"),
        ("YOLO", "data.yaml", "YOLO"),
        ("YOLO", "labels", "YOLO"),
        ("YOLO side by side", "classes.txt", "YOLO"),
    ],
)
def test_the_file_or_folder_of_the_annotations_stands_for_the_data_set(
    tmp_path: Path, layout: str, path: str, format_name: str
) -> None:
    folder = {**WITH_SPLITS, **WITHOUT_SPLITS}[layout](tmp_path / "set")
    source = open_source(folder / path)
    assert source.format == format_name
    for split in source.splits.values():
        content = split.read()
        assert content.dataset["annotations"]
        assert all((split.image_dir / image["file_name"]).is_file() for image in content.dataset["images"])


def test_one_file_is_the_split_that_it_is_named_after(tmp_path: Path) -> None:
    folder = WITH_SPLITS["COCO by Roboflow"](tmp_path / "set")
    assert list(open_source(folder / "valid" / "_annotations.coco.json").splits) == ["val"]
    assert list(open_source(WITHOUT_SPLITS["COCO by CVAT"](tmp_path / "cvat") / "annotations").splits) == ["all"]


def test_a_file_in_the_working_directory_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(WITHOUT_SPLITS["COCO by CVAT"](tmp_path / "set") / "annotations")
    (split,) = open_source("instances_default.json").splits.values()
    assert (split.image_dir / "a.jpg").is_file()


def test_an_archive_unpacked_into_a_folder_of_its_own_is_looked_into(tmp_path: Path) -> None:
    WITH_SPLITS["YOLO"](tmp_path / "outer" / "inner" / "set")
    assert open_source(tmp_path / "outer").folder == tmp_path / "outer" / "inner" / "set"


@pytest.mark.parametrize("layout", [*WITH_SPLITS, *WITHOUT_SPLITS])
def test_where_an_entry_stands_is_said_for_all_formats_but_coco(tmp_path: Path, layout: str) -> None:
    source = open_source({**WITH_SPLITS, **WITHOUT_SPLITS}[layout](tmp_path / "set"))
    dataset = next(iter(source.splits.values())).read().dataset
    entries = [*dataset["images"], *dataset["annotations"]]
    assert all(("source" in entry) == (source.format != "COCO") for entry in entries)
    assert all((tmp_path / "set" / entry["source"].split(",")[0]).is_file() for entry in entries if "source" in entry)


def test_two_formats_in_one_folder_are_named_with_the_way_to_choose(tmp_path: Path) -> None:
    folder = WITH_SPLITS["YOLO"](tmp_path / "set")
    WITH_SPLITS["COCO, ids from 0"](folder)
    with pytest.raises(UserError, match=r"COCO and YOLO\.\n.*Give .*annotations or .*data\.yaml, or move") as caught:
        open_source(folder)
    assert str(folder) in str(caught.value)
    assert open_source(folder / "data.yaml").format == "YOLO"
    assert open_source(folder / "annotations").format == "COCO"


def test_two_formats_without_a_place_of_their_own_have_to_be_taken_apart(tmp_path: Path) -> None:
    folder = WITHOUT_SPLITS["YOLO side by side"](tmp_path / "set")
    write_texts(folder, {"a.xml": same_data.voc_text("a")})
    with pytest.raises(UserError, match=r"Pascal VOC and YOLO\.\n  Move what"):
        open_source(folder)


def test_one_coco_file_is_named_as_the_way_to_choose(tmp_path: Path) -> None:
    folder = WITHOUT_SPLITS["COCO by CVAT"](tmp_path / "set")
    shutil.copytree(WITH_SPLITS["YOLO"](tmp_path / "yolo") / "labels", folder / "labels")
    shutil.copytree(tmp_path / "yolo" / "images", folder / "images", dirs_exist_ok=True)
    with pytest.raises(UserError, match=r"Give .*instances_default\.json or .*labels"):
        open_source(folder)


def test_a_folder_of_no_format_is_told_what_it_holds_and_what_is_understood(tmp_path: Path) -> None:
    same_data.write_images(tmp_path / "photos", "ab")
    write_texts(tmp_path, {"notes.md": "", ".hidden": ""})
    words = r"holds notes\.md, photos/ \(2 \.jpg\)(, \w+\.json)*\.{}\n(?s:.*VOC.*YOLO)"
    with pytest.raises(UserError, match=words.format("")):
        open_source(tmp_path)
    write_json(tmp_path / "result.json", {"images": [], "annotations": {}})
    with pytest.raises(UserError, match=words.format(r" .*result\.json has no list 'annotations', 'categories'\.")):
        open_source(tmp_path)
    write_json(tmp_path / "z.json", {})
    with pytest.raises(UserError, match=words.format("")):
        open_source(tmp_path)


def test_an_empty_folder_a_missing_one_and_another_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which holds nothing"):
        open_source(tmp_path)
    with pytest.raises(UserError, match=r"no dataset folder .*absent\.\n  Check"):
        open_source(tmp_path / "absent")
    write_texts(tmp_path, {"notes.md": "", "classes.txt": "ant"})
    for name in ("notes.md", "classes.txt"):
        with pytest.raises(UserError, match=f"{name} does not describe a dataset"):
            open_source(tmp_path / name)


def test_several_data_sets_in_one_folder_are_not_mixed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        WITH_SPLITS["YOLO"](tmp_path / "yolo" / name)
        WITH_SPLITS["Pascal VOC"](tmp_path / "voc" / name)
    with pytest.raises(UserError, match=r"more than one YAML file of a dataset: a/data\.yaml, b/data\.yaml"):
        open_source(tmp_path / "yolo")
    with pytest.raises(UserError, match="more than one Pascal VOC dataset: a, b"):
        open_source(tmp_path / "voc")
    shutil.rmtree(tmp_path / "voc" / "b")
    shutil.rmtree(tmp_path / "yolo" / "b")
    for name, layout in (("voc", "Pascal VOC"), ("yolo", "YOLO")):
        write_texts(tmp_path / name, {"README.md": ""})
        source = open_source(tmp_path / name)
        assert (source.format, source.folder, list(source.splits)) == (layout, tmp_path / name / "a", ["train", "val"])


def test_a_folder_called_labels_may_be_a_data_set_itself(tmp_path: Path) -> None:
    assert open_source(WITH_SPLITS["YOLO"](tmp_path / "labels")).folder == tmp_path / "labels"
    (tmp_path / "other" / "annotations").mkdir(parents=True)
    with pytest.raises(UserError, match="holds nothing"):
        open_source(tmp_path / "other" / "annotations")


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
    """Let a list of a YOLO dataset name an image outside."""

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
    (folder / "classes.txt").write_text("\n".join(good_data.CLASS_NAMES))
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
    "19 ways in which a dataset refers to files outside its folder: `..`, absolute paths, links",
    "each is named with its target; `convert` and `check --fix` copy none of them unless allowed",
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
