from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from good_data import SIZE, STEMS, WRITERS, edit_coco, write_good_coco, write_image
from PIL import Image

from brs_detr.data.checks.annotation_check import find_annotation_faults
from brs_detr.data.checks.check import DataReport, check_source, check_split, content_faults, find_faults
from brs_detr.data.checks.cleaning import clean_annotations
from brs_detr.data.findings import Finding
from brs_detr.data.formats.layout import SplitContent
from brs_detr.data.formats.source import open_source
from brs_detr.data.kinds import (
    BROKEN_OBJECT,
    CROWDED_IMAGE,
    DUPLICATE_ID,
    DUPLICATE_NAME,
    MALFORMED,
    MAX_BOXES,
    MAX_CLASSES,
    MISSING_IMAGE,
    NO_BOX,
    NOT_FINITE_BOX,
    ODD_SEGMENTATION,
    ODD_VALUE,
    OUTSIDE_BOX,
    TOO_MANY_CLASSES,
    UNKNOWN_CATEGORY,
    UNKNOWN_IMAGE,
    UNREADABLE_IMAGE,
    UNREADABLE_SPLIT,
    WRONG_SIZE,
    ZERO_AREA_BOX,
    FaultKind,
)
from brs_detr.errors import UserError


def set_box(place: int, box: list[float]) -> Callable:
    return lambda coco: coco.data["annotations"][place].update(bbox=box)


def set_field(section: str, place: int, **fields: object) -> Callable:
    return lambda coco: coco.data[section][place].update(fields)


def drop_field(section: str, place: int, key: str) -> Callable:
    return lambda coco: coco.data[section][place].pop(key)


def truncate(coco) -> None:
    path = coco.image("a.jpg")
    path.write_bytes(path.read_bytes()[:-300])


FATAL: dict[str, tuple[Callable, FaultKind, str]] = {
    "missing image": (lambda coco: coco.image("b.png").unlink(), MISSING_IMAGE, "image 20, .*b.png"),
    "truncated image": (truncate, UNREADABLE_IMAGE, "image 10, .*a.jpg: .*truncated"),
    "text as image": (lambda coco: coco.image("c.bmp").write_text("no"), UNREADABLE_IMAGE, "image 30, .*c.bmp"),
    "empty image file": (lambda coco: coco.image("c.bmp").write_text(""), UNREADABLE_IMAGE, "image 30"),
    "scaled image": (
        lambda coco: Image.new("RGB", (20, 15)).save(coco.image("a.jpg")),
        WRONG_SIZE,
        "image 10, .*: 20 x 15 instead of 40 x 30",
    ),
    "box outside": (set_box(1, [35, 5, 10, 10]), OUTSIDE_BOX, r"annotation 2, image 10 \(a.jpg, 40 x 30\): \[35, 5"),
    "NaN box": (set_box(1, [float("nan"), 5, 10, 10]), NOT_FINITE_BOX, r"annotation 2.*\[nan, 5, 10, 10\]"),
    "infinite box": (set_box(1, [1, 5, float("inf"), 10]), NOT_FINITE_BOX, "annotation 2"),
    "unknown category": (set_field("annotations", 0, category_id=4), UNKNOWN_CATEGORY, "annotation 1: category 4"),
    "unknown image": (set_field("annotations", 2, image_id=99), UNKNOWN_IMAGE, "annotation 3: image 99"),
    "image id twice": (set_field("images", 1, id=10), DUPLICATE_ID, "images: id 10 2 times"),
    "annotation id twice": (set_field("annotations", 1, id=1), DUPLICATE_ID, "annotations: id 1 2 times"),
    "category id twice": (set_field("categories", 0, id=3), DUPLICATE_ID, "categories: id 3 2 times"),
    "class name twice": (set_field("categories", 0, name="cat"), DUPLICATE_NAME, "'cat' 2 times"),
    "no box at all": (lambda coco: coco.data["annotations"].clear(), NO_BOX, "nothing to learn from"),
    "no file name": (drop_field("images", 2, "file_name"), MALFORMED, r"images\[2\] has no 'file_name'"),
    "no size": (drop_field("images", 0, "width"), MALFORMED, r"images\[0\] has no 'width'"),
    "no box key": (drop_field("annotations", 0, "bbox"), MALFORMED, r"annotations\[0\] has no 'bbox'"),
    "no category id": (drop_field("categories", 0, "id"), MALFORMED, r"categories\[0\] has no 'id'"),
    "box of three numbers": (set_box(0, [1, 2, 3]), MALFORMED, r"\[1, 2, 3\], not a list of four numbers"),
    "box of texts": (lambda coco: set_box(0, ["1", "2", "3", "4"])(coco), MALFORMED, "not a list of four numbers"),
    "text as id": (set_field("images", 0, id="10"), MALFORMED, r"images\[0\] is '10', not an integer"),
    "size of nothing": (set_field("images", 0, height=0), MALFORMED, "'height' .* is 0, not a positive integer"),
    "NaN size": (set_field("images", 0, height=float("nan")), MALFORMED, "not a positive integer"),
    "size without end": (set_field("images", 0, width=10**400), MALFORMED, "'width' .* not a positive integer"),
    "id of 65 bits": (set_field("annotations", 0, id=2**64), MALFORMED, "'id' of annotations.* not an integer"),
    "truth value as id": (set_field("images", 0, id=True), MALFORMED, "'id' of images.* is True, not an integer"),
    "box without end": (set_box(0, [1, 2, 10**400, 3]), MALFORMED, "not a list of four numbers"),
    "area that is a text": (set_field("annotations", 0, area="big"), MALFORMED, "'area' .* is 'big', not a number"),
    "crowd that is a text": (set_field("annotations", 0, iscrowd="no"), MALFORMED, "'iscrowd' .* is 'no', not 0 or 1"),
    "crowd that is NaN": (set_field("annotations", 0, iscrowd=float("nan")), MALFORMED, "'iscrowd' .* is nan"),
    "LVIS without a list": (set_field("images", 0, neg_category_ids=3), MALFORMED, "is 3, not a list of integers"),
    "long text as id": (set_field("images", 0, id="x" * 10_000), MALFORMED, r"images\[0\] is 'x{30,40}\.\.\.x+', not"),
    "entry that is no object": (lambda coco: coco.data["images"].append(5), MALFORMED, r"images\[3\] is not an object"),
}


def test_a_good_split_has_no_findings(coco) -> None:
    steps: list[tuple[int, int]] = []
    assert check_split(coco.split, lambda *step: steps.append(step)).found == ()
    assert steps == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("name", FATAL)
def test_a_fatal_fault_is_refused_by_file_and_id(coco, name: str) -> None:
    break_it, kind, words = FATAL[name]
    break_it(coco)
    coco.write()
    assert find_faults(coco.split).count(kind) == 1
    with pytest.raises(UserError, match=words) as caught:
        check_split(coco.split)
    assert str(caught.value).startswith(f"{coco.split.annotation_file} cannot be used:")
    assert kind.what in str(caught.value) and kind.cure in str(caught.value)


def test_more_classes_than_can_be_are_refused(coco) -> None:
    coco.data["categories"] = [{"id": number, "name": f"k{number}"} for number in range(MAX_CLASSES + 1)]
    findings = find_annotation_faults(coco.data, Path("a.json"))
    assert [finding.kind for finding in findings.found] == [TOO_MANY_CLASSES]
    coco.data["categories"].pop()
    assert find_annotation_faults(coco.data, Path("a.json")).count(TOO_MANY_CLASSES) == 0


def test_more_boxes_than_can_be_are_refused(coco) -> None:
    coco.data["annotations"] = [
        {**coco.data["annotations"][0], "id": number, "image_id": 10} for number in range(MAX_BOXES + 1)
    ]
    findings = find_annotation_faults(coco.data, Path("a.json"))
    (crowded,) = [finding for finding in findings.found if finding.kind == CROWDED_IMAGE]
    assert crowded.examples == ("image 10 (a.jpg): 32,769 boxes, more than 32,768",)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"x": "\ud800"}, {"\ud800": 1}])
def test_a_value_that_json_does_not_have_is_a_warning(coco, value: object) -> None:
    coco.data["annotations"][0]["score"] = value
    findings = content_faults(Path("a.json"), SplitContent(coco.data))
    assert [finding.kind for finding in findings.found] == [ODD_VALUE]
    assert "annotations[0].score" in findings.found[0].examples[0]


@pytest.mark.parametrize("segmentation", [[[1, 2, 3]], {"size": [10**9, 10**9], "counts": [10**18]}, "x"])
def test_an_outline_that_fits_no_image_is_left_out_with_a_warning(coco, segmentation: object) -> None:
    coco.data["annotations"][0]["segmentation"] = segmentation
    dataset, findings = clean_annotations(coco.data, Path("a.json"))
    assert [finding.kind for finding in findings.found] == [ODD_SEGMENTATION]
    assert "segmentation" not in dataset["annotations"][0]


def test_crowds_alone_are_refused(coco) -> None:
    for thing in coco.data["annotations"]:
        thing["iscrowd"] = 1
    coco.write()
    with pytest.raises(UserError, match=r"all are crowds or difficult objects: 1 \(3 of 3 boxes\)"):
        check_split(coco.split)
    coco.data["annotations"][0]["iscrowd"] = 0
    coco.write()
    assert check_split(coco.split).found == ()


def test_image_ids_that_are_all_off_by_one_are_named_as_such(coco) -> None:
    for image in coco.data["images"]:
        image["id"] = image["id"] // 10
    for thing in coco.data["annotations"]:
        thing["image_id"] = thing["image_id"] // 10 - 1
    coco.write()
    with pytest.raises(
        UserError, match="off by one.*0 to 1 in the annotations, 1 to 3 in the list of images"
    ) as caught:
        check_split(coco.split)
    assert "delete the annotation" not in str(caught.value)


def test_boxes_too_narrow_to_train_on_are_refused(coco) -> None:
    for place in range(3):
        set_box(place, [5, 6, 0.4, 10])(coco)
    coco.write()
    with pytest.raises(UserError, match="box narrower than 1 pixel, as nearly all are: 3 of 3"):
        check_split(coco.split)


def test_all_fatal_kinds_are_in_one_message(coco) -> None:
    for name in ("missing image", "box outside", "unknown category"):
        FATAL[name][0](coco)
    coco.write()
    with pytest.raises(UserError, match="(?s)without a category.*outside of the image.*missing image file"):
        check_split(coco.split)


def test_many_faults_of_one_kind_are_counted_with_three_examples(coco) -> None:
    for number in range(20):
        coco.data["annotations"].append({"id": 50 + number, "image_id": 10, "category_id": 77, "bbox": [1, 1, 2, 2]})
    coco.write()
    with pytest.raises(
        UserError, match="category: 20 .annotation 50.*annotation 52: category 77; and 17 more"
    ) as caught:
        check_split(coco.split)
    assert "annotation 53" not in str(caught.value)


@pytest.mark.parametrize("box", [[5, 5, 0, 4], [5, 5, 4, 0], [5, 5, -3, 4], [40, 5, 0.5, 3]])
def test_a_zero_area_box_is_a_counted_warning(coco, box: list[float]) -> None:
    set_box(1, box)(coco)
    coco.write()
    (warning,) = check_split(coco.split).warnings
    assert (warning.kind, warning.count) == (ZERO_AREA_BOX, 1)
    assert "annotation 2, image 10 (a.jpg" in str(warning)


def test_boxes_in_fractions_are_refused(coco) -> None:
    for place, box in enumerate(([0, 0, 1, 1], [0.2, 0.3, 0.25, 0.25], [0.5, 0.1, 0.4, 0.2])):
        set_box(place, box)(coco)
    coco.write()
    with pytest.raises(UserError, match=r"box in fractions of the image instead of pixels: 3 of 3 \(annotation 1"):
        check_split(coco.split)


def test_labels_that_cannot_be_read_are_not_called_missing(tmp_path: Path) -> None:
    fault = Finding.of(BROKEN_OBJECT, ["a.txt, line 1"])
    content = SplitContent({"images": [], "annotations": [], "categories": []}, (fault,))
    assert content_faults(tmp_path, content).found == (fault,)


def test_a_split_with_nothing_but_zero_area_boxes_is_refused(coco) -> None:
    for place in range(3):
        set_box(place, [5, 5, 0, 0])(coco)
    coco.write()
    with pytest.raises(UserError, match=NO_BOX.what):
        check_split(coco.split)


@pytest.mark.parametrize("box", [[-1, 0, 20, 20], [30, 20, 10.99, 11], [-0.4, -0.2, 41, 30.9]])
def test_a_box_may_stick_out_by_a_rounding_error(coco, box: list[float]) -> None:
    set_box(1, box)(coco)
    coco.write()
    assert check_split(coco.split).found == ()


def test_a_rotated_photograph_has_the_size_it_is_loaded_with(coco) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 40)).save(coco.image("a.jpg"), exif=exif)
    assert check_split(coco.split).found == ()


def test_broken_json_is_refused_with_its_place(coco) -> None:
    coco.split.annotation_file.write_text(json.dumps(coco.data)[:-1])
    with pytest.raises(UserError, match=r"not valid JSON.*line 1, column \d+"):
        check_split(coco.split)


RESIZED = (2 * SIZE[0], 2 * SIZE[1])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_good_coco(tmp_path / "set")


def check(folder: Path) -> DataReport:
    return check_source(open_source(folder), resized_to=RESIZED)


def whats(report: DataReport) -> list[tuple[str, str]]:
    return [(placed.split, placed.finding.kind.what) for placed in report.placed_findings]


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_the_same_numbers(tmp_path: Path, form: str) -> None:
    report = check(WRITERS[form](tmp_path / "set"))
    assert (report.source.format, report.class_names) == (form, ("ant", "cat"))
    train, val = (report.splits[name].statistics for name in ("train", "val"))
    assert (train.num_images, train.num_boxes, val.num_images, val.num_boxes) == (12, 24, 5, 10)
    assert train.boxes_by_class.tolist() == [12, 12] and train.box_sides.min() == pytest.approx(300**0.5)
    assert train.resized_box_sides == pytest.approx(2 * train.box_sides)


def test_progress_counts_the_images_of_all_splits(good: Path) -> None:
    steps: list[tuple[int, int]] = []
    check_source(open_source(good), progress=lambda *step: steps.append(step))
    assert steps == [(done, 17) for done in range(1, 18)]


def test_findings_come_with_their_split_the_worst_first(good: Path) -> None:
    edit_coco(good, lambda data: data["annotations"][0].update(bbox=[2, 4, 0, 16]))
    edit_coco(good, lambda data: data["annotations"][0].update(bbox=[0, 0, 64, 48]))
    edit_coco(good, lambda data: data["annotations"][2].update(bbox=[0, 0, 0, 5]))
    (good / "val" / "v00.jpg").unlink()
    write_image(good / "val", "x00")
    assert whats(check(good)) == [
        ("val", "missing image file"),
        ("train", "zero-area box"),
        ("train", "box over the whole image"),
        ("", "image in the folder that no annotation file lists"),
    ]


def test_boxes_in_fractions_are_not_called_tiny_as_well(good: Path) -> None:
    def shrink(data: dict) -> None:
        for thing in data["annotations"]:
            thing["bbox"] = [number / side for number, side in zip(thing["bbox"], (*SIZE, *SIZE), strict=True)]

    edit_coco(good, shrink)
    assert whats(check(good)) == [("train", "box in fractions of the image instead of pixels")]


def test_a_split_that_cannot_be_read_does_not_hide_the_others(good: Path) -> None:
    (good / "annotations" / "train.json").write_text("{")
    (good / "val" / "v00.jpg").unlink()
    report = check(good)
    assert [what for _, what in whats(report)[:2]] == [UNREADABLE_SPLIT, "missing image file"]
    assert report.splits["train"].statistics.num_images == 0 and report.splits["val"].statistics.num_images == 5


def test_the_errors_are_those_of_the_quick_check(good: Path) -> None:
    edit_coco(good, lambda data: data["annotations"][0].update(bbox=[60, 4, 30, 16]))
    (good / "train" / "t03.jpg").write_text("no")
    quick = find_faults(open_source(good).splits["train"])
    thorough = check(good).splits["train"].findings
    assert [str(finding) for finding in quick.fatal] == [str(f) for f in thorough if f.kind.is_fatal]


def test_an_error_in_test_alone_does_not_keep_from_training(good: Path) -> None:
    shutil.copytree(good / "val", good / "test")
    shutil.copy(good / "annotations" / "val.json", good / "annotations" / "test.json")
    (good / "test" / "v00.jpg").unlink()
    report = check(good)
    assert report.of_severity("error") and report.is_trainable
    (good / "annotations" / "val.json").unlink()
    report = check(good)
    assert report.of_severity("error") and not report.is_trainable  # test now stands in for val


def test_what_all_splits_have_alike_is_said_once(good: Path) -> None:
    for split in STEMS:
        edit_coco(good, lambda data: data["categories"][1].update(name="ant"), split)
    assert [split for split, what in whats(check(good)) if what == "duplicate class name"] == [""]


def test_the_record_is_json_and_names_every_example(good: Path) -> None:
    def add(data: dict) -> None:
        for number in range(60):
            data["annotations"].append({"id": 100 + number, "image_id": 1, "category_id": 5, "bbox": [1, 1, 2, 2]})

    edit_coco(good, add)
    record = json.loads(json.dumps(check(good).record()))
    assert (record["errors"], record["warnings"], record["notes"], record["format"]) == (1, 0, 0, "COCO")
    (finding,) = record["findings"]
    assert (finding["split"], finding["count"], finding["severity"]) == ("train", 60, "error")
    assert len(finding["examples"]) == 50 and finding["examples"][0]["annotation_id"] == 100
    assert record["splits"]["train"]["classes"]["ant"] == {"boxes": 12, "images": 12}
    assert record["class_names"] == ["ant", "cat"] and record["resized_to"] == list(RESIZED)


def test_without_splits_it_is_said_what_training_will_do(good: Path) -> None:
    shutil.rmtree(good / "val")
    (good / "annotations" / "val.json").unlink()
    (placed,) = check(good).placed_findings
    assert (placed.split, placed.finding.kind.severity) == ("", "note")
    assert "80 %" in placed.finding.examples[0]


def test_an_error_that_leaves_no_box_is_not_followed_by_a_warning_for_each_class(tmp_path: Path) -> None:
    WRITERS["YOLO"](tmp_path / "set")
    for file in (tmp_path / "set" / "labels").rglob("*.txt"):
        file.write_text("0,0.5,0.5,0.2,0.2")
    report = check_source(open_source(tmp_path / "set"), resized_to=SIZE)
    assert [placed.finding.kind.what for placed in report.of_severity("error")] == ["object that cannot be read"] * 2
    assert report.of_severity("warning") == []
