from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from same_data import coco_object, write_images, write_json, write_roboflow

from brs_detr.data.formats.coco_folder import find_splits
from brs_detr.data.formats.coco_folder_reader import UNUSED_GROUP, coco_source, is_as_filed
from brs_detr.data.formats.source_split import SplitContent
from brs_detr.errors import UserError


def read(folder: Path) -> dict[str, SplitContent]:
    return {name: split.read() for name, split in coco_source(find_splits(folder)).items()}


def names(content: SplitContent) -> list[str]:
    return [category["name"] for category in content.dataset["categories"]]


def test_a_category_that_only_groups_others_is_no_class(tmp_path: Path) -> None:
    contents = read(write_roboflow(tmp_path))
    for content in contents.values():
        (finding,) = content.findings
        assert names(content) == ["ant", "cat", "dog"] and not is_as_filed(content)
        assert (finding.kind, finding.kind.severity) == (UNUSED_GROUP, "note")
        assert finding.examples == ("_annotations.coco.json: 'animals'",)


def test_a_group_with_an_annotation_in_any_split_is_a_class(tmp_path: Path) -> None:
    write_roboflow(tmp_path)
    dataset = coco_object("d", {"animals": 0, "ant": 1, "cat": 2, "dog": 3})
    dataset["annotations"][0]["category_id"] = 0
    write_json(tmp_path / "valid" / "_annotations.coco.json", dataset)
    for content in read(tmp_path).values():
        assert names(content) == ["animals", "ant", "cat", "dog"] and is_as_filed(content)


@pytest.mark.parametrize(
    "categories",
    [
        [("person", "person"), ("car", "vehicle"), ("sports ball", "sports"), ("food", "food")],  # as in COCO
        [("none", "none"), ("cat", "none")],
        [("None", None), ("cat", None)],
        [("", ""), ("cat", "")],
    ],
)
def test_unused_classes_that_group_nothing_else_stay(tmp_path: Path, categories: list[tuple[str, Any]]) -> None:
    write_images(tmp_path / "images", "a")
    dataset = coco_object("a", {"dog": 50, "ant": 51})
    dataset["categories"] += [
        {"id": number, "name": name, "supercategory": group} for number, (name, group) in enumerate(categories)
    ]
    write_json(tmp_path / "all.json", dataset)
    content = read(tmp_path)["all"]
    assert names(content) == ["dog", "ant", *(name for name, _ in categories)] and is_as_filed(content)


def test_malformed_entries_are_left_for_the_check(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a")
    categories = [{"id": 0, "name": "all"}, {"id": 1, "name": "cat", "supercategory": "all"}, 5, {"name": [1]}, {}]
    dataset = {"images": [3], "annotations": [4, {"category_id": [1]}], "categories": categories}
    write_json(tmp_path / "all.json", dataset)
    content = read(tmp_path)["all"]
    assert content.dataset == {**dataset, "categories": categories[1:]}


def test_odd_names_are_findings(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a")
    write_json(tmp_path / "all.json", coco_object("a", {"dog": 0, "Dog": 1, "ant": 2, "": 3}))
    texts = [str(finding) for finding in read(tmp_path)["all"].findings]
    assert texts == [
        "class without a name: 1 (all.json, class 4 of the list)",
        "class names that differ only in capitals, spaces, - or _: 1 (all.json: 'dog', 'Dog')",
    ]


def test_what_is_no_coco_object_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a")
    (tmp_path / "train.json").write_text("{")
    with pytest.raises(UserError, match=r"train\.json is not valid JSON"):
        read(tmp_path)
