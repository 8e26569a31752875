from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from broken_data import ERRORS, REST, make_broken, turn
from good_data import WRITERS, edit_coco, write_good_coco
from PIL import Image

from brs_detr.data.annotations import read_annotations
from brs_detr.data.checks.check import DataReport, check_source
from brs_detr.data.formats.source import open_source
from brs_detr.data.writing.convert import fix_source
from brs_detr.errors import UserError

STUBBORN = (  # nobody but the user knows what was meant
    "category id twice",
    "ids off by one",
    "class without a name",
    "no box at all",
    "no size",
    "no box key",
    "text as id",
    "three numbers",
    "cut JSON",
    "JSON list",
    "no list of images",
    "no training split",
    "one image",
)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_good_coco(tmp_path / "set")


def check(folder: Path) -> DataReport:
    return check_source(open_source(folder), resized_to=(128, 96))


def fix(folder: Path, link: bool = False) -> tuple[Path, dict[str, dict[str, int]]]:
    target = folder.with_name("fixed")
    return target, fix_source(check(folder), target, link)


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("name", [name for name in [*ERRORS, *REST] if name not in STUBBORN])
def test_a_mended_copy_has_no_error_and_the_original_stays(tmp_path: Path, name: str) -> None:
    make_broken(tmp_path / "set", name)
    before = listing(tmp_path / "set")
    target, _ = fix(tmp_path / "set")
    assert listing(tmp_path / "set") == before
    report = check(target)
    assert report.of_severity("error") == [] and report.source.format == "COCO"
    assert check(tmp_path / "set").class_names == report.class_names


@pytest.mark.parametrize("name", STUBBORN)
def test_what_only_the_user_can_mend_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    make_broken(tmp_path / "set", name)
    with pytest.raises(UserError, match="cannot be mended without you"):
        fix(tmp_path / "set")
    assert names(tmp_path) == ["set"]


ALL_WRONG: dict[str, Callable[[dict], object]] = {
    "fractions": lambda thing: [value / side for value, side in zip(thing["bbox"], (64, 48, 64, 48), strict=True)],
    "negative": lambda thing: [*thing["bbox"][:2], -thing["bbox"][2], thing["bbox"][3]],
    "outside": lambda thing: [3 * value for value in thing["bbox"]],
    "without an area": lambda thing: [*thing["bbox"][:2], 0, 0],
    "NaN": lambda thing: [float("nan")] * 4,
    "narrow": lambda thing: [*thing["bbox"][:2], 0.4, thing["bbox"][3]],
}


@pytest.mark.parametrize("name", ALL_WRONG)
def test_boxes_that_are_all_wrong_are_not_mended_by_halves(good: Path, name: str) -> None:
    edit_coco(good, lambda data: [thing.update(bbox=ALL_WRONG[name](thing)) for thing in data["annotations"]])
    with pytest.raises(UserError, match="cannot be mended without you") as caught:
        fix(good)
    assert "Annotate at least one object" not in str(caught.value)
    assert names(good.parent) == ["set"]


SHIFTED: dict[str, Callable[[dict], object]] = {
    "file_name": lambda data: [image.update(file_name=image["file_name"][:-3] + "gif") for image in data["images"]],
    "image_id": lambda data: [thing.update(image_id=thing["image_id"] - 1) for thing in data["annotations"]],
    "iscrowd": lambda data: [thing.update(iscrowd=1) for thing in data["annotations"]],
}


@pytest.mark.parametrize("name", SHIFTED)
def test_fields_that_are_all_wrong_are_not_mended_by_leaving_out(good: Path, name: str) -> None:
    edit_coco(good, SHIFTED[name])
    words = {"file_name": "of a similar name", "image_id": "image ids", "iscrowd": "all are crowds"}[name]
    with pytest.raises(UserError, match=f"(?s)cannot be mended without you.*{words}"):
        fix(good)


def test_splits_of_the_same_pictures_are_refused_in_these_words(good: Path) -> None:
    shutil.rmtree(good / "val")
    shutil.copytree(good / "train", good / "val")
    shutil.copy(good / "annotations" / "train.json", good / "annotations" / "val.json")
    words = (
        r"no box would be left of train; 12 images left out: they are in another split too.*"
        r"\s+Put every image of two splits"
    )
    with pytest.raises(UserError, match=words):
        fix(good)


@pytest.mark.parametrize("form", WRITERS)
def test_good_data_are_copied_as_they_are(tmp_path: Path, form: str) -> None:
    folder = WRITERS[form](tmp_path / "set")
    target, changes = fix(folder)
    assert changes == {"train": {}, "val": {}}
    dataset = read_annotations(target / "annotations" / "train.json")
    assert [entry["id"] for entry in dataset["annotations"]] == list(range(1, 25))
    assert dataset["annotations"][0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [2, 4, 20, 16],
        "area": 320,
        "iscrowd": 0,
    }
    assert set(dataset["images"][0]) == {"id", "file_name", "width", "height"}
    assert dataset["categories"] == [{"id": 1, "name": "ant"}, {"id": 2, "name": "cat"}]
    original = next(folder.rglob("t00.jpg"))
    assert (target / "train" / "t00.jpg").read_bytes() == original.read_bytes()


def test_every_change_is_counted(good: Path) -> None:
    def spoil(data: dict) -> None:
        boxes = [[2, 4, 0, 16], [float("nan"), 1, 2, 3], [50, 4, 20, 16], [60, 4, 40, 16], [44, 5, 20.5, 9]]
        for annotation, box in zip(data["annotations"], boxes, strict=False):
            annotation["bbox"] = box
        data["annotations"].append({**data["annotations"][20], "id": 900})
        data["annotations"][8]["category_id"] = 7
        data["annotations"][9]["image_id"] = 70

    edit_coco(good, spoil)
    (good / "train" / "t11.png").unlink()
    target, changes = fix(good)
    assert changes["train"] == {
        "images left out: missing image file": 1,
        "boxes left out with their images": 2,
        "boxes left out: of an unknown category": 1,
        "boxes left out: of an unknown image": 1,
        "boxes left out: NaN or infinite": 1,
        "boxes left out: zero area": 1,
        "boxes left out: more than half outside of the image": 1,
        "boxes left out: drawn twice": 1,
        "boxes clipped to the image": 2,
    }
    boxes = [entry["bbox"] for entry in read_annotations(target / "annotations" / "train.json")["annotations"]]
    assert len(boxes) == 25 - 8 and boxes[:2] == [[50, 4, 14, 16], [44, 5, 20, 9]]
    assert check(target).of_severity("error") == []


def test_a_mask_keeps_its_area_and_other_fields_stay(good: Path) -> None:
    fields = {"bbox": [50, 4, 14.5, 16], "area": 99, "segmentation": [[50, 4, 63, 4, 60, 20]], "score": 0.5}
    edit_coco(good, lambda data: data["annotations"][0].update(fields))
    target, _ = fix(good)
    entry = read_annotations(target / "annotations" / "train.json")["annotations"][0]
    assert entry["area"] == 99 and entry["segmentation"] == [[50, 4, 63, 4, 60, 20]] and entry["score"] == 0.5
    assert entry["bbox"] == [50, 4, 14, 16]


def test_a_leaked_picture_is_taken_out_of_the_training_images(good: Path) -> None:
    shutil.copy(good / "train" / "t06.jpg", good / "val" / "v02.jpg")
    target, changes = fix(good)
    assert changes == {
        "train": {"images left out: they are in another split too": 1, "boxes left out with their images": 2},
        "val": {},
    }
    assert (target / "val" / "v02.jpg").exists() and not (target / "train" / "t06.jpg").exists()
    assert check(target).placed_findings == []


def test_of_equal_pictures_the_one_with_most_boxes_is_kept(good: Path) -> None:
    shutil.copy(good / "train" / "t06.jpg", good / "train" / "t07.jpg")
    edit_coco(
        good, lambda data: data["annotations"].append({**data["annotations"][14], "id": 99, "bbox": [0, 0, 9, 9]})
    )
    target, changes = fix(good)
    assert changes["train"]["images left out: the same picture is there in another file"] == 1
    assert (target / "train" / "t07.jpg").exists() and not (target / "train" / "t06.jpg").exists()


def test_two_entries_of_one_file_become_one_with_all_boxes(good: Path) -> None:
    def split(data: dict) -> None:
        data["images"].append({**data["images"][0], "id": 90})
        data["annotations"][1]["image_id"] = 90

    edit_coco(good, split)
    target, changes = fix(good)
    assert changes["train"] == {"entries of one image file joined": 1}
    dataset = read_annotations(target / "annotations" / "train.json")
    assert [entry["image_id"] for entry in dataset["annotations"]][:3] == [1, 1, 2] and len(dataset["images"]) == 12


def test_a_sideways_image_is_saved_the_way_it_was_annotated(good: Path) -> None:
    before = Image.open(good / "train" / "t03.jpg").convert("RGB").getpixel((1, 1))
    turn(good, 6)
    target, changes = fix(good, link=True)
    assert changes["train"] == {"images saved without their EXIF rotation": 1}
    mended = Image.open(target / "train" / "t03.jpg")
    assert mended.size == (64, 48) and 0x0112 not in mended.getexif()
    assert max(abs(a - b) for a, b in zip(mended.convert("RGB").getpixel((1, 1)), before, strict=True)) < 12
    assert (target / "train" / "t03.jpg").stat().st_nlink == 1 and (target / "train" / "t02.jpg").stat().st_nlink == 2


def test_a_sideways_png_keeps_every_pixel(good: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = good / "train" / "t11.png"
    before = Image.open(path).copy()
    before.save(path, exif=exif)
    target, changes = fix(good)
    mended = Image.open(target / "train" / "t11.png")
    assert mended.tobytes() == before.tobytes()
    assert changes["train"] == {"images saved without their EXIF rotation": 1}
    assert 0x0112 not in mended.getexif()
    assert check(target).of_severity("error") == []


@pytest.mark.parametrize("orientation", range(5, 9))
def test_a_sideways_tiff_keeps_every_pixel(good: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = good / "train" / "t11.png"  # the content decides
    before = Image.open(path).convert("L")
    before.save(path, "TIFF", exif=exif)
    target, changes = fix(good)
    mended = Image.open(target / "train" / "t11.png")
    assert mended.tobytes() == before.tobytes() and 0x0112 not in mended.getexif()
    assert changes["train"] == {"images saved without their EXIF rotation": 1}


def test_a_sideways_photo_with_a_preview_is_saved_without_it(good: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = good / "train" / "t03.jpg"
    before = Image.open(path).copy()
    before.save(path, "MPO", save_all=True, append_images=[before], exif=exif)
    target, changes = fix(good)
    assert changes["train"] == {"images saved without their EXIF rotation": 1}
    mended = Image.open(target / "train" / "t03.jpg")
    assert mended.size == before.size and mended.format == "JPEG"


def test_images_from_other_folders_get_a_name_of_their_own(good: Path) -> None:
    (good / "elsewhere").mkdir()
    shutil.copy(good / "val" / "v00.jpg", good / "elsewhere" / "t00.jpg")
    (good / "val" / "v00.jpg").unlink()
    edit_coco(good, lambda data: data["images"].pop(0) and data["annotations"].__delitem__(slice(2)), "val")
    image = {"id": 90, "file_name": "../elsewhere/t00.jpg", "width": 64, "height": 48}
    edit_coco(good, lambda data: data["images"].append(image))
    target, _ = fix(good)
    images = read_annotations(target / "annotations" / "train.json")["images"]
    assert images[-1]["file_name"] == "t00_2.jpg" and (target / "train" / "t00_2.jpg").exists()
    assert check(target).of_severity("error") == []


def test_images_are_copied_where_links_cannot_be_made(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("os.link", refuse)
    target, _ = fix(good, link=True)
    assert not (target / "train" / "t00.jpg").samefile(good / "train" / "t00.jpg")
    assert listing(target / "train") == listing(good / "train")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("YOLO: damaged text", "annotation file that is not text in UTF-8"),
        ("VOC: broken XML", "annotation file that cannot be read"),
    ],
)
def test_an_image_whose_labels_cannot_be_read_is_left_out(tmp_path: Path, name: str, what: str) -> None:
    make_broken(tmp_path / "set", name)
    target, changes = fix(tmp_path / "set")
    assert changes["train"] == {f"left out: {what}": 1}
    assert len(read_annotations(target / "annotations" / "train.json")["images"]) == 11


def test_the_copy_must_lie_beside_the_original_in_a_free_folder(good: Path) -> None:
    report = check(good)
    for folder in (good, good / "fixed", good.parent):
        with pytest.raises(UserError, match="lie within each other"):
            fix_source(report, folder)
    taken = good.parent / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("")
    with pytest.raises(UserError, match=r"not empty.\s+Choose another name.$"):
        fix_source(report, taken)
    assert names(taken) == ["mine.txt"]
