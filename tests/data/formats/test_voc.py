from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from same_data import write_texts
from voc_folders import make_voc, voc_object, write_list, write_voc, write_xml

from brs_detr.data.formats.layout import SplitContent
from brs_detr.data.formats.source import open_source
from brs_detr.data.kinds import (
    AMBIGUOUS_IMAGE,
    BROKEN_LABEL_FILE,
    BROKEN_OBJECT,
    COUNTS_FROM_ZERO,
    LABEL_WITHOUT_IMAGE,
    MISNAMED_LABEL,
    MISSING_IMAGE,
    MISSING_LABEL_FILE,
    NO_IMAGE_FOUND,
    NOT_UTF8_FILE,
    OTHER_ELEMENTS,
    OTHER_XML,
    OUTSIDE_OF_SPLITS,
    REPEATED_ELEMENT,
    SHARED_IMAGE,
    SWAPPED_CORNERS,
    UNANNOTATED_IMAGE,
    UNCLEAR_LINE,
    UNREAD_SUFFIX,
    UNREADABLE_IMAGE,
    WIDTH_FOR_CORNER,
    FaultKind,
)
from brs_detr.errors import UserError


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    return make_voc(tmp_path / "voc")


def read(folder: Path, split: str = "train") -> SplitContent:
    return open_source(folder).splits[split].read()


def boxes(folder: Path, split: str = "train") -> list[Any]:
    return [annotation["bbox"] for annotation in read(folder, split).dataset["annotations"]]


def found(content: SplitContent, kind: FaultKind) -> list[str]:
    return [example for finding in content.findings if finding.kind == kind for example in finding.examples]


def test_the_lists_make_the_splits(voc: Path) -> None:
    source = open_source(voc)
    assert (source.format, list(source.splits)) == ("Pascal VOC", ["train", "val"])
    train, val = source.splits.values()
    assert (train.file, train.image_dir) == (voc / "ImageSets/Main/train.txt", voc / "JPEGImages")
    dataset = train.read().dataset
    assert [image["file_name"] for image in dataset["images"]] == ["two.jpg", "one.jpg"]
    assert [(image["width"], image["height"]) for image in dataset["images"]] == [(40, 30)] * 2
    assert [category["name"] for category in val.read().dataset["categories"]] == ["ant", "cat", "dog"]
    assert [image["file_name"] for image in val.read().dataset["images"]] == ["three.jpg"]
    assert train.read().findings == val.read().findings == ()
    assert train.read() is train.read()  # read once


def test_one_based_inclusive_boxes_become_zero_based(voc: Path) -> None:
    ant, dog, cat = read(voc).dataset["annotations"]
    assert (ant["bbox"], ant["source"]) == ([4, 6, 5, 2], "Annotations/two.xml, object 1")
    assert dog["bbox"] == [0, 0, 40, 30] and dog["area"] == 1200
    assert (dog["category_id"], dog["iscrowd"]) == (3, 0)
    assert (cat["bbox"], cat["iscrowd"]) == ([10, 5, 10, 10], 1)  # difficult
    assert cat["source"] == "Annotations/one.xml, object 2"


def test_zero_based_boxes_are_kept_when_any_box_begins_at_zero(voc: Path) -> None:
    write_voc(voc, "three", voc_object("dog", (0, 3, 10.5, 20)))
    assert boxes(voc)[0] == [5, 7, 4, 1]
    assert boxes(voc, "val") == [[0, 3, 10.5, 17]]
    assert found(read(voc), COUNTS_FROM_ZERO) == ["Annotations/three.xml, object 1: xmin 0, ymin 3"]


def test_zero_area_and_outside_boxes_are_kept_for_the_check(voc: Path) -> None:
    write_voc(voc, "three", *(voc_object("dog", box) for box in ((9, 9, 9, 9), (30, 20, 90, 31))))
    assert boxes(voc, "val") == [[8, 8, 0, 0], [29, 19, 61, 12]]
    assert [annotation["area"] for annotation in read(voc, "val").dataset["annotations"]] == [0, 732]


def test_swapped_corners_are_put_in_order_and_named(voc: Path) -> None:
    write_voc(voc, "three", *(voc_object("dog", box) for box in ((38, 3, 33, 8), (38, 8, 33, 3), (33, 3, 38, 8))))
    assert boxes(voc, "val") == [[32, 2, 6, 6]] * 3
    content = read(voc, "val")
    assert found(content, SWAPPED_CORNERS) == [f"Annotations/three.xml, object {number}" for number in (1, 2)]
    assert not any(finding.kind.is_fatal for finding in (*content.findings, *read(voc).findings))
    write_voc(voc, "three", voc_object("dog", (38, 9, 33, 0)))
    assert boxes(voc, "val") == [[33, 0, 5, 9]]  # counted from 0, as the lower end shows


def test_corners_out_of_order_that_may_be_width_and_height_are_refused(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        put(tmp_path, f"{stem}.jpg")
        write_xml(tmp_path / f"{stem}.xml", voc_object("dog", (21, 10, 9, 15)), voc_object("dog", (5, 5, 30, 20)))
    assert found(read(tmp_path, "all"), WIDTH_FOR_CORNER) == ["a.xml, object 1", "b.xml, object 1"]


def test_annotations_of_which_none_has_its_image_are_refused_with_both_sides(tmp_path: Path) -> None:
    put(tmp_path, "images/x.jpg")
    annotate(tmp_path, labels__a="a.jpg", labels__b="b.jpg")
    content = read(tmp_path, "all")
    assert found(content, NO_IMAGE_FOUND) == ["labels/a.xml and the others; the images are images/x.jpg"]


def test_trainval_stands_in_for_a_missing_train(voc: Path) -> None:
    (voc / "ImageSets/Main/train.txt").unlink()
    assert [image["file_name"] for image in read(voc).dataset["images"]] == ["one.jpg", "two.jpg"]  # three is in val
    (voc / "ImageSets/Main/val.txt").unlink()
    assert len(read(voc).dataset["images"]) == 3


def test_without_lists_all_is_one_split_and_what_has_no_partner_is_named(voc: Path) -> None:
    for file in (voc / "ImageSets/Main").iterdir():
        file.unlink()
    Image.new("RGB", (40, 30)).save(voc / "JPEGImages" / "four.png")
    (voc / "JPEGImages" / "two.jpg").unlink()
    content = read(voc, "all")
    assert [image["file_name"] for image in content.dataset["images"]] == ["one.jpg", "three.jpg"]
    assert found(content, UNANNOTATED_IMAGE) == ["JPEGImages/four.png"]
    assert found(content, LABEL_WITHOUT_IMAGE) == ["Annotations/two.xml"]
    assert not any(finding.kind.is_fatal for finding in content.findings)


def test_names_in_lists_may_have_spaces_quotes_and_folders(voc: Path) -> None:
    write_voc(voc, "a 1", voc_object("dog", (1, 1, 4, 4)))
    (voc / "Annotations" / "deep").mkdir()
    (voc / "JPEGImages" / "deep").mkdir()
    Image.new("RGB", (40, 30)).save(voc / "JPEGImages" / "deep" / "five.jpg")
    write_xml(voc / "Annotations" / "deep" / "five.xml")
    write_list(voc, "val", '"a 1"', "deep/five", "three -1")
    images = read(voc, "val").dataset["images"]
    assert [image["file_name"] for image in images] == ["a 1.jpg", "deep/five.jpg", "three.jpg"]


def test_class_names_keep_their_letters_and_spaces(voc: Path) -> None:
    write_voc(voc, "three", voc_object("große Ameise 蚁", (1, 1, 4, 4)), voc_object(" Dog ", (1, 1, 4, 4)))
    content = read(voc)
    names = [category["name"] for category in content.dataset["categories"]]
    assert names == ["Dog", "ant", "cat", "dog", "große Ameise 蚁"]
    (finding,) = content.findings
    assert not finding.kind.is_fatal and "'Dog', 'dog'" in str(finding)


BROKEN: dict[str, tuple[Callable[[Path], object], FaultKind, str]] = {
    "broken XML": (
        lambda voc: (voc / "Annotations/one.xml").write_text("<annotation><b></annotation>"),
        BROKEN_LABEL_FILE,
        "Annotations/one.xml is not valid XML: mismatched tag: line 1, column 17",
    ),
    "unknown encoding": (
        lambda voc: (voc / "Annotations/one.xml").write_bytes(
            b'<?xml version="1.0" encoding="none"?><annotation>\xf6</annotation>'
        ),
        BROKEN_LABEL_FILE,
        "Annotations/one.xml is not valid XML: unknown encoding: none",
    ),
    "missing XML": (
        lambda voc: (voc / "Annotations/one.xml").unlink(),
        MISSING_LABEL_FILE,
        "one.xml, named in ImageSets/Main/train.txt",
    ),
    "missing image": (lambda voc: (voc / "JPEGImages/one.jpg").unlink(), MISSING_IMAGE, "Annotations/one.xml"),
    "no name": (
        lambda voc: write_voc(voc, "one", voc_object("", (1, 2, 3, 4))),
        BROKEN_OBJECT,
        "Annotations/one.xml, object 1 has no name",
    ),
    "no corner": (
        lambda voc: write_voc(voc, "one", "<object><name>dog</name></object>"),
        OTHER_ELEMENTS,
        "Annotations/one.xml, object 1: no <bndbox>, but <name>",
    ),
    "width for corner": (
        lambda voc: write_voc(voc, "one", voc_object("dog", (1, 2, 3, 4)).replace("xmax", "width")),
        OTHER_ELEMENTS,
        "Annotations/one.xml, object 1: no <xmax> in <bndbox>, but <xmin>, <ymin>, <width>, <ymax>",
    ),
    "no object around the box": (
        lambda voc: write_voc(voc, "one", voc_object("dog", (1, 2, 3, 4)).replace("object>", "item>")),
        OTHER_ELEMENTS,
        "Annotations/one.xml: 1 <bndbox> in no <object> of <annotation>, which has <filename>, <size>, <item>",
    ),
    "two names": (
        lambda voc: write_voc(
            voc, "one", voc_object("dog", (1, 2, 3, 4)).replace("<bndbox>", "<name>red</name><bndbox>")
        ),
        REPEATED_ELEMENT,
        "Annotations/one.xml, object 1: 2 <name>",
    ),
    "two boxes": (
        lambda voc: write_voc(voc, "one", voc_object("dog", (1, 2, 3, 4)).replace("</bndbox>", "</bndbox><bndbox/>")),
        REPEATED_ELEMENT,
        "Annotations/one.xml, object 1: 2 <bndbox>",
    ),
    "other root": (
        lambda voc: (voc / "Annotations/one.xml").write_text("<annotations><annotation/></annotations>"),
        OTHER_XML,
        "Annotations/one.xml: the root element is <annotations>, not <annotation>",
    ),
    "listed image of another kind": (
        lambda voc: (voc / "JPEGImages/one.jpg").rename(voc / "JPEGImages/one.TGA"),
        MISSING_IMAGE,
        "Annotations/one.xml; JPEGImages/one.TGA is of a kind that is not read",
    ),
    "path that leads nowhere": (
        lambda voc: write_list(voc, "train", "two", "JPEGImages/gone.jpg"),
        MISSING_LABEL_FILE,
        "gone.xml, named in ImageSets/Main/train.txt",
    ),
    "NaN corner": (
        lambda voc: write_voc(voc, "one", voc_object("dog", (1, 2, "nan", 4))),
        BROKEN_OBJECT,
        "Annotations/one.xml, object 1: xmax is 'nan', not a number",
    ),
    "word as corner": (
        lambda voc: write_voc(voc, "one", voc_object("dog", (1, 2, "far", 4))),
        BROKEN_OBJECT,
        "Annotations/one.xml, object 1: xmax is 'far', not a number",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_a_fatal_finding_and_the_rest_is_read(voc: Path, name: str) -> None:
    break_it, kind, text = BROKEN[name]
    break_it(voc)
    content = read(voc)
    assert found(content, kind) == [text] and kind.is_fatal
    assert boxes(voc) == [[4, 6, 5, 2]]


def test_a_link_to_nowhere_and_an_unreadable_image_of_unstated_size_are_findings(voc: Path) -> None:
    (voc / "Annotations/one.xml").unlink()
    (voc / "Annotations/one.xml").symlink_to(voc / "nowhere.xml")
    (voc / "JPEGImages/two.jpg").write_text("x")
    content = read(voc)
    assert found(content, BROKEN_LABEL_FILE) == ["Annotations/one.xml: No such file or directory"]
    assert found(content, UNREADABLE_IMAGE)[0].endswith("two.jpg: it is not an image")
    assert content.dataset["images"] == []


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    folder = tmp_path / "loose"
    for split in ("train", "valid"):
        (folder / split).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(folder / split / "a.jpg")
        write_xml(folder / split / "a.xml", voc_object(split, (1, 1, 9, 9)))
    return folder


def test_annotations_beside_images_belong_to_the_split_of_their_folder(loose: Path) -> None:
    source = open_source(loose)
    assert [(split.name, split.file.name, split.image_dir.name) for split in source.splits.values()] == [
        ("train", "train", "train"),
        ("val", "valid", "valid"),
    ]
    for split in source.splits.values():
        (image,) = split.read().dataset["images"]
        assert (image["file_name"], image["source"]) == ("a.jpg", f"{split.file.name}/a.xml")


def test_a_link_to_nowhere_does_not_hide_the_format(loose: Path) -> None:
    (loose / "train" / "0.xml").symlink_to(loose / "nowhere.xml")
    assert found(read(loose), BROKEN_LABEL_FILE) == ["train/0.xml: No such file or directory"]


def test_files_outside_of_the_splits_are_named_once(loose: Path) -> None:
    write_xml(loose / "stray.xml")
    assert found(read(loose), OUTSIDE_OF_SPLITS) == ["stray.xml"]
    assert found(read(loose, "val"), OUTSIDE_OF_SPLITS) == []


def test_images_may_lie_in_another_folder_and_under_the_stated_name(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.jpg"):
        Image.new("RGB", (40, 30)).save(tmp_path / "images" / name)
    write_xml(tmp_path / "annotations" / "a.xml", voc_object("dog", (1, 1, 9, 9)))
    write_xml(tmp_path / "annotations" / "7.xml", voc_object("dog", (1, 1, 9, 9)), name="C:\\photos\\b.jpg")
    split = open_source(tmp_path).splits["all"]
    names = [image["file_name"] for image in split.read().dataset["images"]]
    assert all((split.image_dir / name).is_file() for name in names) and names == ["deep/b.jpg", "a.jpg"]


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(folder / name)


def annotate(folder: Path, **names: str) -> None:
    """An annotation file by its stem, with what it states as name of its image."""
    for stem, name in names.items():
        file = folder / f"{stem.replace('__', '/')}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_xml(file, voc_object("dog", (1, 1, 9, 9)), name=name)


def pairs(folder: Path, split: str = "all") -> dict[str, str]:
    content = read(folder, split)
    names = {image["source"]: image["file_name"] for image in content.dataset["images"]}
    kinds = (AMBIGUOUS_IMAGE, SHARED_IMAGE, MISNAMED_LABEL, LABEL_WITHOUT_IMAGE, UNCLEAR_LINE)
    return {**names, **{text: kind.what for kind in kinds for text in found(content, kind)}}


def test_of_images_with_one_stem_the_stated_one_is_taken(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.png", "b.jpg")
    annotate(tmp_path, a="a.png", b="elsewhere.png")
    assert pairs(tmp_path) == {"a.xml": "a.png", "b.xml": "b.jpg"}
    annotate(tmp_path, a="")
    assert pairs(tmp_path) == {"a.xml: a.jpg or a.png": AMBIGUOUS_IMAGE.what, "b.xml": "b.jpg"}


def test_the_nearest_image_of_a_name_is_taken(tmp_path: Path) -> None:
    put(tmp_path, *(f"JPEGImages/{name}.jpg" for name in ("a/1", "b/1", "1")))
    annotate(tmp_path, Annotations__b__1="1.jpg", Annotations__1="1.jpg")
    assert pairs(tmp_path) == {"Annotations/1.xml": "1.jpg", "Annotations/b/1.xml": "b/1.jpg"}
    (tmp_path / "JPEGImages/1.jpg").unlink()
    text = "Annotations/1.xml: JPEGImages/a/1.jpg or JPEGImages/b/1.jpg"
    assert pairs(tmp_path) == {text: AMBIGUOUS_IMAGE.what, "Annotations/b/1.xml": "b/1.jpg"}
    annotate(tmp_path, Annotations__1="a\\1.jpg")
    assert pairs(tmp_path) == {"Annotations/1.xml": "a/1.jpg", "Annotations/b/1.xml": "b/1.jpg"}


def test_segmentation_masks_are_no_images(voc: Path) -> None:
    put(voc, "SegmentationClass/one.png", "Depth/one.jpg")
    assert pairs(voc, "train") == {"Annotations/one.xml": "one.jpg", "Annotations/two.xml": "two.jpg"}


def test_an_image_belongs_to_one_annotation_file(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "c.jpg")
    annotate(tmp_path, a="a.jpg", a_flipped="a.jpg", old__a="a.jpg")
    assert pairs(tmp_path) == {
        "a.xml": "a.jpg",
        "a_flipped.xml": LABEL_WITHOUT_IMAGE.what,
        "old/a.xml": LABEL_WITHOUT_IMAGE.what,
    }
    annotate(tmp_path, x="c.jpg", y="c.jpg")
    assert pairs(tmp_path)["c.jpg: x.xml, y.xml"] == SHARED_IMAGE.what


def test_an_image_of_another_split_is_not_taken(loose: Path) -> None:
    (loose / "train" / "a.jpg").unlink()
    assert pairs(loose, "train") == {"train/a.xml": LABEL_WITHOUT_IMAGE.what}


def test_a_name_that_speaks_of_another_image_is_refused_unless_that_has_a_file(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg", "2.jpg", "3.jpg", "2_copy.jpg")
    annotate(tmp_path, **{"1": "2.jpg", "2": "3.jpg", "2_copy": "2.jpg"})
    assert pairs(tmp_path) == {
        "1.xml: 1.jpg, or 2.jpg as <filename> says": MISNAMED_LABEL.what,
        "2.xml: 2.jpg, or 3.jpg as <filename> says": MISNAMED_LABEL.what,
        "2_copy.xml: 2_copy.jpg, or 2.jpg as <filename> says": MISNAMED_LABEL.what,
    }
    annotate(tmp_path, **{"1": "1.jpg", "2": "2.jpg", "2_copy": "2.jpg"})
    assert pairs(tmp_path) == {f"{stem}.xml": f"{stem}.jpg" for stem in ("1", "2", "2_copy")}


def test_names_that_differ_in_capitals_or_in_how_letters_are_composed_are_alike(tmp_path: Path) -> None:
    put(tmp_path, "ma\u0308h.JPG", "Dog.jpg")
    annotate(tmp_path, **{"m\u00e4h": "", "dog": ""})
    assert pairs(tmp_path) == {"m\u00e4h.xml": "ma\u0308h.JPG", "dog.xml": "Dog.jpg"}


def test_a_listed_name_that_two_files_have_is_refused(voc: Path) -> None:
    for folder in ("a", "b"):
        put(voc, f"JPEGImages/{folder}/1.jpg")
        annotate(voc, **{f"Annotations__{folder}__1": "1.jpg"})
    write_list(voc, "val", "1", "b/1", "two.jpg", "three.xml 1")
    assert pairs(voc, "val") == {
        "1, named in ImageSets/Main/val.txt: Annotations/a/1.xml or Annotations/b/1.xml": UNCLEAR_LINE.what,
        **{f"Annotations/{stem}.xml": f"{stem}.jpg" for stem in ("b/1", "two", "three")},
    }


def test_xml_of_another_kind_is_no_voc(tmp_path: Path) -> None:
    from brs_detr.data.formats.layout import list_files
    from brs_detr.data.formats.voc import open_voc

    (tmp_path / "annotations.xml").write_text("<annotations><version>1.1</version></annotations>")
    assert open_voc(list_files(tmp_path)) is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lists_may_have_any_mark_and_line_end(voc: Path, encoding: str, end: str) -> None:
    (voc / "ImageSets/Main/train.txt").write_bytes(f"two{end}one{end}".encode(encoding))
    content = read(voc)
    assert [image["file_name"] for image in content.dataset["images"]] == ["two.jpg", "one.jpg"]
    assert content.findings == ()


def test_a_list_in_another_encoding_is_refused(voc: Path) -> None:
    (voc / "ImageSets/Main/train.txt").write_bytes("one\nLöwe\n".encode("cp1252"))
    with pytest.raises(UserError, match=r"train\.txt is not text in UTF-8 \(byte 6, line 2\)"):
        open_source(voc)


def test_folders_lists_and_names_need_no_case(voc: Path) -> None:
    expected = {name: split.read().dataset for name, split in open_source(voc).splits.items()}
    (voc / "ImageSets/Main/val.txt").rename(voc / "ImageSets/Main/Valid.TXT")
    (voc / "ImageSets/Main").rename(voc / "ImageSets/MAIN")
    write_texts(voc / "ImageSets/MAIN", {"train.txt": "TWO\nOne\n"})
    for old, new in (("ImageSets", "imagesets"), ("JPEGImages", "jpegimages"), ("Annotations", "annotations")):
        (voc / old).rename(voc / new)
    (voc / "annotations/one.xml").rename(voc / "annotations/one.XML")
    got = {name: split.read().dataset for name, split in open_source(voc).splits.items()}
    for name, dataset in expected.items():
        assert [image["file_name"] for image in got[name]["images"]] == [i["file_name"] for i in dataset["images"]]
        assert [thing["bbox"] for thing in got[name]["annotations"]] == [t["bbox"] for t in dataset["annotations"]]


def test_two_lists_of_one_split_are_refused(voc: Path) -> None:
    write_list(voc, "valid", "one")
    with pytest.raises(UserError, match=r"Two lists for the split val: .*val\.txt and .*valid\.txt"):
        open_source(voc)


def test_normal_forms_of_file_and_class_names_do_not_matter(voc: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "Löwe") for form in ("NFC", "NFD"))
    write_voc(voc, nfc, voc_object(nfc, (1, 1, 9, 9)), voc_object(nfd, (11, 11, 19, 19)))
    (voc / f"Annotations/{nfc}.xml").rename(voc / f"Annotations/{nfd}.xml")
    write_list(voc, "train", nfc)
    content = read(voc)
    assert content.findings == () and len(content.dataset["annotations"]) == 2
    assert [category["name"] for category in content.dataset["categories"]] == [nfc]


def test_xml_is_read_in_utf16_and_in_the_encoding_that_it_states(voc: Path) -> None:
    text = (voc / "Annotations/two.xml").read_text().replace("<name>ant", "<name>Löwe")
    for head, encoding in (("", "utf-16"), ('<?xml version="1.0" encoding="utf-8"?>', "utf-16"), ("", "utf-8-sig")):
        (voc / "Annotations/two.xml").write_bytes(f"{head}{text}".encode(encoding))
        assert "Löwe" in [category["name"] for category in read(voc).dataset["categories"]]
    head = '<?xml version="1.0" encoding="windows-1252"?>'
    (voc / "Annotations/two.xml").write_bytes(f"{head}{text}".encode("cp1252"))
    assert "Löwe" in [category["name"] for category in read(voc).dataset["categories"]]
    (voc / "Annotations/two.xml").write_bytes(text.encode("cp1252"))
    (told,) = found(read(voc), NOT_UTF8_FILE)
    assert told.startswith("Annotations/two.xml is not text in UTF-8 (byte ")


@pytest.mark.parametrize(
    ("stated", "encoding", "name"),
    [
        ("windows-1252", "utf-8-sig", "Löwe"),
        ("windows-1252", "utf-8", "Löwe"),
        ("gb2312", "gb2312", "狗"),
        ("gb2312", "ascii", "dog"),
        ("shift_jis", "shift_jis", "犬"),
        ("utf-16", "utf-16-le", "Löwe"),
    ],
)
def test_xml_is_read_in_the_encoding_that_it_is_in(voc: Path, stated: str, encoding: str, name: str) -> None:
    text = (voc / "Annotations/two.xml").read_text().replace("<name>ant", f"<name>{name}")
    head = f'<?xml version="1.0" encoding="{stated}"?>'
    (voc / "Annotations/two.xml").write_bytes(f"{head}{text}".encode(encoding))
    content = read(voc)
    assert name in [category["name"] for category in content.dataset["categories"]] and content.findings == ()


@pytest.mark.parametrize(
    ("stated", "raw", "told"),
    [
        ("gb2312", "ö".encode(), "declares gb2312, and may be UTF-8 as well: save it as UTF-8, and declare that"),
        ("ascii", b"\xf6", "is not text in ascii, as it declares"),
    ],
)
def test_xml_in_doubtful_letters_is_refused(voc: Path, stated: str, raw: bytes, told: str) -> None:
    text = (voc / "Annotations/two.xml").read_bytes().replace(b"<name>ant", b"<name>" + raw)
    (voc / "Annotations/two.xml").write_bytes(f'<?xml version="1.0" encoding="{stated}"?>'.encode() + text)
    assert found(read(voc), NOT_UTF8_FILE) == [f"Annotations/two.xml {told}"]
    assert "as UTF-8" in NOT_UTF8_FILE.cure


@pytest.mark.parametrize(
    ("old", "new"),
    [("<annotation>", '<annotation xmlns="http://a.b/c">'), ("object>", "Object>"), ("xmin>", "Xmin>")],
)
def test_capitals_and_namespaces_of_tags_do_not_matter(voc: Path, old: str, new: str) -> None:
    expected = boxes(voc)
    for file in (voc / "Annotations").iterdir():
        file.write_text(file.read_text().replace(old, new))
    assert boxes(voc) == expected and read(voc).findings == ()
    (voc / "Annotations").rename(voc / "JPEGImages/xml")  # no longer told by the names of the folders
    assert boxes(voc) == expected


def test_xml_of_another_kind_is_no_fault_where_no_image_has_its_name(voc: Path) -> None:
    (voc / "ImageSets/Main").rename(voc / "other")
    (voc / "Annotations/meta.xml").write_text("<meta/>")
    content = read(voc, "all")
    assert found(content, LABEL_WITHOUT_IMAGE) == ["Annotations/meta.xml"] and found(content, OTHER_XML) == []


LINES = {
    "path of the image": "JPEGImages/{}.jpg",
    "path of the file": "Annotations/{}.xml",
    "path without suffix": "JPEGImages/{}",
    "path of another machine": "/home/u/VOC/JPEGImages/{}.jpg",
    "path of Windows": r"C:\VOC\Annotations\{}.xml",
    "pair": "./JPEGImages/{0}.jpg ./Annotations/{0}.xml",
}


@pytest.mark.parametrize("name", LINES)
def test_lines_of_lists_may_be_paths(voc: Path, name: str) -> None:
    write_voc(voc, "a 1", voc_object("dog", (1, 1, 4, 4)))
    write_list(voc, "train", *(LINES[name].format(stem) for stem in ("two", "a 1")))
    content = read(voc)
    assert [image["file_name"] for image in content.dataset["images"]] == ["two.jpg", "a 1.jpg"]
    assert content.findings == ()


@pytest.mark.parametrize("place", ["ImageSets", ".", "ImageSets/Segmentation"])
def test_lists_are_found_elsewhere(voc: Path, place: str) -> None:
    expected = {name: split.read().dataset for name, split in open_source(voc).splits.items()}
    (voc / place).mkdir(exist_ok=True)
    for file in list((voc / "ImageSets/Main").iterdir()):
        file.rename(voc / place / file.name)
    source = open_source(voc)
    assert {name: split.read().dataset for name, split in source.splits.items()} == expected
    assert source.splits["train"].file == voc / place / "train.txt"


def test_lists_may_be_called_so(voc: Path) -> None:
    for file in list((voc / "ImageSets/Main").iterdir()):
        file.rename(voc / f"{file.stem}_list.txt")
    assert list(open_source(voc).splits) == ["train", "val"]


@pytest.mark.parametrize("line", [".", './"', '"" 1', "/", "a//"])
def test_odd_lines_are_names_without_a_file(voc: Path, line: str) -> None:
    write_list(voc, "train", "one", line)
    assert len(found(read(voc), MISSING_LABEL_FILE)) == 1


def test_lists_in_two_places_agree_or_are_refused(voc: Path) -> None:
    (voc / "ImageSets/Layout").mkdir()
    write_texts(voc, {"train.txt": "JPEGImages/one.jpg\nJPEGImages/two.jpg\n", "ImageSets/Layout/val.txt": "one\n"})
    assert len(read(voc).dataset["images"]) == 2 and len(read(voc, "val").dataset["images"]) == 1
    write_texts(voc, {"train.txt": "one\n"})
    with pytest.raises(UserError, match=r"Two lists for the split train: .*Main/train\.txt and .*voc/train\.txt"):
        open_source(voc)


def test_lists_of_classes_do_not_make_splits(voc: Path) -> None:
    write_list(voc, "dog_train", "one  1", "two -1")
    assert list(open_source(voc).splits) == ["train", "val"]
    for name in ("train", "val", "trainval"):
        (voc / f"ImageSets/Main/{name}.txt").unlink()
    with pytest.raises(UserError, match=r"only lists of single classes: .*dog_train\.txt"):
        open_source(voc)


def test_images_of_a_kind_that_is_not_read_are_named(voc: Path) -> None:
    (voc / "ImageSets/Main").rename(voc / "other")
    (voc / "JPEGImages/one.jpg").rename(voc / "JPEGImages/one.tga")
    (voc / "JPEGImages/two.jpg").rename(voc / "JPEGImages/two")
    content = read(voc, "all")
    told = [f"Annotations/{name}" for name in ("one.xml: JPEGImages/one.tga", "two.xml: JPEGImages/two")]
    assert found(content, UNREAD_SUFFIX) == told and found(content, NO_IMAGE_FOUND) == []
    (voc / "JPEGImages/three.jpg").rename(voc / "JPEGImages/three.svg")
    (told_of_all,) = found(read(voc, "all"), NO_IMAGE_FOUND)
    assert told_of_all.endswith("the images are of a kind that is not read, as JPEGImages/one.tga")


def test_xml_in_utf16_beside_the_images_is_recognised(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    write_xml(tmp_path / "a.xml", voc_object("ant", (1, 1, 9, 9)))
    (tmp_path / "a.xml").write_bytes((tmp_path / "a.xml").read_text().encode("utf-16"))
    assert boxes(tmp_path, "all") == [[0, 0, 9, 9]]
