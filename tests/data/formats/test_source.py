from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import same_data
from same_data import CLASS_NAMES, OBJECTS, WITH_SPLITS, WITHOUT_SPLITS, write_json, write_texts

from brs_detr.data.checks.check import find_faults
from brs_detr.data.formats.coco_folder import CocoSplit, shared_class_names
from brs_detr.data.formats.source import open_source
from brs_detr.data.formats.splits import place_splits
from brs_detr.data.loading.registry import register
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
    with pytest.raises(UserError, match=r"no data set folder .*absent\.\n  Check"):
        open_source(tmp_path / "absent")
    write_texts(tmp_path, {"notes.md": "", "classes.txt": "ant"})
    for name in ("notes.md", "classes.txt"):
        with pytest.raises(UserError, match=f"{name} does not describe a data set"):
            open_source(tmp_path / name)


def test_several_data_sets_in_one_folder_are_not_mixed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        WITH_SPLITS["YOLO"](tmp_path / "yolo" / name)
        WITH_SPLITS["Pascal VOC"](tmp_path / "voc" / name)
    with pytest.raises(UserError, match=r"more than one YAML file of a data set: a/data\.yaml, b/data\.yaml"):
        open_source(tmp_path / "yolo")
    with pytest.raises(UserError, match="more than one Pascal VOC data set: a, b"):
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
