from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from brs_detr.data.annotations import read_annotations, read_class_names, write_annotations
from brs_detr.errors import UserError


def test_what_is_written_is_read(tmp_path: Path) -> None:
    data = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "Kätzchen"}]}
    write_annotations(tmp_path / "new" / "train.json", data)
    assert read_annotations(tmp_path / "new" / "train.json") == data
    assert "Kätzchen" in (tmp_path / "new" / "train.json").read_text(encoding="utf-8")


def test_images_of_lvis_find_their_files(tmp_path: Path) -> None:
    image = {"id": 1, "coco_url": "http://images.cocodataset.org/train2017/000000391895.jpg"}
    write_annotations(tmp_path / "lvis.json", {"images": [image], "annotations": [], "categories": []})
    (read,) = read_annotations(tmp_path / "lvis.json")["images"]
    assert read["file_name"] == "train2017/000000391895.jpg"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_do_not_matter_and_names_of_classes_have_one_normal_form(tmp_path: Path, encoding: str) -> None:
    text = '{"images": [],\r\n "annotations": [], "categories": [{"id": 1, "name": "Lo\u0308we"}]}'
    (tmp_path / "a.json").write_bytes(text.encode(encoding))
    assert read_class_names(tmp_path / "a.json") == ["L\u00f6we"]


def test_what_json_does_not_have_is_never_written(tmp_path: Path) -> None:
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    odd = {"a": float("nan"), "b": [-math.inf, 1.5], "c": "\ud800", "d\ud800": 1, "e": deep, "file_name": "\udce9.jpg"}
    write_annotations(tmp_path / "train.json", {"annotations": [odd]})
    text = (tmp_path / "train.json").read_text(encoding="utf-8")
    assert "NaN" not in text and "Infinity" not in text
    (read,) = json.loads(text)["annotations"]
    assert read.pop("e") != deep
    assert read == {"a": None, "b": [None, 1.5], "c": None, "file_name": "\udce9.jpg"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"images": [],\n "annotations": [}', "line 2, column 18"),
        ("", "line 1, column 1"),
        ("[1, 2]", "holds a JSON list"),
        ('{"images": [], "annotations": {}}', "no list 'annotations', 'categories'"),
        (b'{"images": ["\xff"]}', "UTF-8"),
        ('{"images": [],\n "x": ' + "9" * 5000 + "}", "more than 4,300 digits at line 2, column 7"),
        ("[" * 200_000, "lists without end"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str | bytes, words: str) -> None:
    file = tmp_path / "train.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=words) as caught:
        read_annotations(file)
    assert str(file) in str(caught.value) and caught.value.hint


@pytest.mark.parametrize("name", ["absent.json", "."])
def test_a_missing_file_or_a_folder_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="Cannot open"):
        read_annotations(tmp_path / name)


@pytest.mark.parametrize("ids", [(0, 1, 2), (1, 2, 3), (4, 18, 90)])
def test_class_names_follow_the_ids_not_the_file(tmp_path: Path, ids: tuple[int, ...]) -> None:
    categories = [{"id": number, "name": name} for number, name in zip(ids, "abc", strict=True)]
    write_annotations(tmp_path / "f.json", {"images": [], "annotations": [], "categories": categories[::-1]})
    assert read_class_names(tmp_path / "f.json") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("categories", "words"),
    [
        ([], "empty list of categories"),
        ([{"id": 1}], "lacks 'id' or 'name'"),
        ([{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "more than one category called a"),
    ],
)
def test_unusable_categories_are_refused(tmp_path: Path, categories: list[dict], words: str) -> None:
    write_annotations(tmp_path / "f.json", {"images": [], "annotations": [], "categories": categories})
    with pytest.raises(UserError, match=words):
        read_class_names(tmp_path / "f.json")
