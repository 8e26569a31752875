from __future__ import annotations

from pathlib import Path

import pytest
from same_data import write_json

from brs_detr.data.formats.coco_folder_images import MOVED_IMAGE, closest_name, find_image_dir, with_found_names
from brs_detr.errors import UserError


def make(folder: Path, stated: list[str], there: list[str]) -> dict:
    for name in there:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    dataset = {"images": [{"id": number, "file_name": name} for number, name in enumerate(stated)]}
    write_json(folder / "all.json", dataset)
    return dataset


PLACES = ("default", "images", ".")


@pytest.mark.parametrize(
    ("stated", "there", "image_dir"),
    [
        ("a.jpg", ["images/a.jpg", "a.jpg"], "images"),
        ("images/a.jpg", ["images/a.jpg"], "."),
        ("images\\a.jpg", ["images/a.jpg"], "images"),
        ("a.jpg", ["images/x.jpg", "a.jpg"], "."),
        ("a.jpg", ["default/x.jpg", "images/deep/a.jpg"], "images"),
        ("/home/me/a.jpg", ["default/x.jpg", "images/a.jpg"], "images"),
        ("a.jpg", ["photos/a.jpg"], "."),
        ("a.jpg", ["images/x.jpg"], "images"),
        ("a.jpg", ["x.jpg"], "."),
        ("\ud800", ["x.jpg"], "."),
    ],
)
def test_the_image_folder_is_where_the_names_are_found(
    tmp_path: Path, stated: str, there: list[str], image_dir: str
) -> None:
    make(tmp_path, [stated], there)
    assert find_image_dir(tmp_path / "all.json", tmp_path, PLACES) == tmp_path / image_dir


def test_two_different_images_of_one_name_are_refused(tmp_path: Path) -> None:
    make(tmp_path, ["a.jpg", "b.jpg"], ["default/a.jpg", "default/b.jpg", "images/a.jpg", "images/b.jpg"])
    (tmp_path / "images" / "b.jpg").write_bytes(b"other")
    with pytest.raises(
        UserError, match=r"b\.jpg, and there are two different ones: .*default/b\.jpg and .*images/b\.jpg"
    ):
        find_image_dir(tmp_path / "all.json", tmp_path, PLACES)


def test_without_any_image_it_is_refused_or_what_is_said_otherwise(tmp_path: Path) -> None:
    make(tmp_path, ["a.jpg"], [])
    with pytest.raises(UserError, match=r"No image folder for .*all\.json; looked in .* for default, images\."):
        find_image_dir(tmp_path / "all.json", tmp_path, PLACES)
    assert find_image_dir(tmp_path / "all.json", tmp_path, PLACES, otherwise=tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("stated", "there", "names"),
    [
        (["a.jpg"], ["a.jpg"], ["a.jpg"]),
        (["images\\1/a.jpg", "images\\1/b.jpg"], ["a.jpg", "b.jpg"], ["a.jpg", "b.jpg"]),
        (["..\\media\\4\\a.jpg", "b.jpg"], ["a.jpg", "b.jpg"], ["a.jpg", "b.jpg"]),
        (["C:/x/1/a.jpg", "C:/x/2/a.jpg"], ["1/a.jpg", "2/a.jpg"], ["1/a.jpg", "2/a.jpg"]),
        (["a.jpg", "b.jpg"], ["deep/a.jpg", "b.jpg"], ["deep/a.jpg", "b.jpg"]),
        (["x/1/a.jpg"], ["1/a.jpg", "2/a.jpg"], ["1/a.jpg"]),
        (["A.JPG", "lo\u0308we.jpg"], ["a.jpg", "l\u00f6we.jpg"], ["a.jpg", "l\u00f6we.jpg"]),
        (["x/a.jpg", "b.jpg"], ["X/a.jpg", "y/a.jpg", "b.jpg"], ["X/a.jpg", "b.jpg"]),
        (["a.jpg"], ["1/a.jpg", "2/A.jpg"], ["1/a.jpg"]),
        (["a.jpg ", "my%20b.jpg"], ["a.jpg", "my b.jpg"], ["a.jpg", "my b.jpg"]),
        (["my%20b.jpg"], ["my%20b.jpg", "my b.jpg"], ["my%20b.jpg"]),
        # Not to be guessed: missing, in two places, claimed twice, a plain name beside others that are right.
        (["a.jpg"], ["b.jpg"], ["a.jpg"]),
        (["a.jpg"], ["1/a.jpg", "2/a.jpg"], ["a.jpg"]),
        (["/x/a.jpg", "/y/a.jpg"], ["a.jpg"], ["/x/a.jpg", "/y/a.jpg"]),
        (["1/a.jpg", "b.jpg"], ["2/a.jpg", "b.jpg"], ["1/a.jpg", "b.jpg"]),
        (["A.JPG"], ["A.jpg", "a.jpg"], ["A.JPG"]),
        (["x" * 300], ["b.jpg"], ["x" * 300]),
    ],
)
def test_images_are_found_by_the_end_of_their_path(
    tmp_path: Path, stated: list[str], there: list[str], names: list[str]
) -> None:
    dataset = make(tmp_path, stated, there)
    found, faults = with_found_names(dataset, tmp_path)
    assert [image["file_name"] for image in found["images"]] == names
    changed = [(old, new) for old, new in zip(stated, names, strict=True) if old != new]
    assert faults == [(MOVED_IMAGE, f"{old!r} is {new}") for old, new in changed]
    assert (found is dataset) == (not changed)


def test_malformed_entries_are_left_for_the_check(tmp_path: Path) -> None:
    dataset = make(tmp_path, ["x\\a.jpg"], ["a.jpg"])
    dataset["images"] += [5, {"file_name": 7}, {}]
    found, _ = with_found_names(dataset, tmp_path)
    assert found["images"] == [{"id": 0, "file_name": "a.jpg"}, 5, {"file_name": 7}, {}]


def test_the_longest_common_end_decides() -> None:
    index = {"a.jpg": [Path("x/1/a.jpg"), Path("y/1/a.jpg")]}
    assert closest_name("z/1/a.jpg", index) is None
    assert closest_name("z\\y\\1\\a.jpg", index) == Path("y/1/a.jpg")
