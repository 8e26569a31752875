from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from brs_detr.data.formats.layout import list_files
from brs_detr.data.formats.yolo_pairs import pair_labels
from brs_detr.data.kinds import LABEL_WITHOUT_IMAGE, MISPLACED_LABEL, RIVAL_LABELS, SHARED_LABEL

NFC = unicodedata.normalize("NFC", "Übung.jpg")
NFD = unicodedata.normalize("NFD", "Übung.txt")


def pairs(root: Path, *names: str) -> tuple[dict[str, str], list[tuple[object, str]]]:
    """Write files, each with a row and its own name, and pair images with labels, by relative path."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"0 0.5 0.5 0.1 0.1 {name}")
    files = list_files(root)
    found, faults = pair_labels([[root / path for path in files.images]], files)
    relative = {str(image.relative_to(root)): str(label.relative_to(root)) for image, label in found.items()}
    return relative, [fault for _, fault in faults]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/a.jpg", "labels/a.txt"),
        ("images/a.JPG", "labels/a.TXT"),
        ("Images/A.jpg", "Labels/a.txt"),
        ("images/Train/a.jpg", "LABELS/train/a.txt"),
        ("JPEGImages/a.jpg", "labels/a.txt"),
        ("images/train/a.jpg", "labels/a.txt"),
        ("images/train/b/a.jpg", "labels/a.txt"),
        ("images/a.jpg", "labels/a.jpg.txt"),
        ("images/a.jpg", "Labels/a.JPG.TXT"),
        (f"images/{NFC}", f"labels/{NFD}"),
        (f"{unicodedata.normalize('NFD', 'ä')}/images/a.jpg", f"{unicodedata.normalize('NFD', 'ä')}/labels/a.txt"),
        (f"images/{NFC[0]}/a.jpg", f"labels/{NFD[:2]}/a.txt"),
    ],
)
def test_case_normal_form_suffix_and_flat_folders_do_not_matter(tmp_path: Path, image: str, label: str) -> None:
    assert pairs(tmp_path, image, label) == ({image: label}, [])


def test_names_that_differ_in_case_alone_keep_their_own(tmp_path: Path) -> None:
    own = {"images/a.jpg": "labels/a.txt", "images/A.jpg": "labels/A.txt"}
    assert pairs(tmp_path, *own, *own.values()) == (own, [])


def test_the_full_name_tells_two_images_apart(tmp_path: Path) -> None:
    own = {"images/a.jpg": "labels/a.txt", "images/a.png": "labels/a.png.txt"}
    assert pairs(tmp_path, *own, *own.values()) == (own, [])


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("images/a.jpg", "images/a.png", "labels/a.txt"), "labels/a.txt: images/a.jpg and images/a.png"),
        (("images/A.jpg", "images/a.jpg", "labels/a.txt"), "labels/a.txt: images/A.jpg and images/a.jpg"),
        (
            ("images/train/a.jpg", "images/val/a.jpg", "labels/a.txt"),
            "labels/a.txt: images/train/a.jpg and images/val/a.jpg",
        ),
    ],
)
def test_a_label_of_two_images_is_refused(tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    assert pairs(tmp_path, *names)[1] == [(SHARED_LABEL, told)] and SHARED_LABEL.is_fatal


def test_two_labels_of_an_image_are_refused_unless_they_are_alike(tmp_path: Path) -> None:
    names = ("images/a.jpg", "labels/a.txt", "images/a.txt")
    assert pairs(tmp_path, *names)[1] == [(RIVAL_LABELS, "images/a.jpg: labels/a.txt and images/a.txt")]
    (tmp_path / "images/a.txt").write_bytes((tmp_path / "labels/a.txt").read_bytes())
    assert pairs(tmp_path) == ({"images/a.jpg": "labels/a.txt"}, []) and RIVAL_LABELS.is_fatal


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("images/val/a.jpg", "labels/valid/a.txt"), ("labels/valid/a.txt", "images/val/a.jpg", "labels/val/a.txt")),
        (("images/a.jpg", "labels/train/a.txt"), ("labels/train/a.txt", "images/a.jpg", "labels/a.txt")),
        (("pictures/a.jpg", "boxes/a.txt"), ("boxes/a.txt", "pictures/a.jpg", "pictures/a.txt")),
        (("images/a.jpg", "labels/a.png.txt"), ("labels/a.png.txt", "images/a.jpg", "labels/a.txt")),
        (("images/a.jpg", "labels/b.txt"), ("labels/b.txt", "images/a.jpg", "labels/a.txt")),
    ],
)
def test_labels_where_no_image_looks_name_both_sides(tmp_path: Path, names: tuple[str, ...], told: tuple) -> None:
    label, image, expected = told
    found, faults = pairs(tmp_path, *names)
    assert found == {} and MISPLACED_LABEL.is_fatal
    assert faults[-1] == (MISPLACED_LABEL, f"{label}, but that of {image} is looked for as {expected}")


def test_a_label_whose_image_is_gone_is_told_beside_labels_that_fit(tmp_path: Path) -> None:
    names = ("images/a.jpg", "labels/a.txt", "images/b.jpg", "labels/lost.txt", "labels/README.txt")
    pairs(tmp_path, "notes.txt", "labels/._a.txt")
    assert pairs(tmp_path, *names) == (
        {"images/a.jpg": "labels/a.txt"},
        [(LABEL_WITHOUT_IMAGE, "labels/lost.txt")],
    )


def test_words_of_the_name_of_an_image_are_no_labels(tmp_path: Path) -> None:
    pairs(tmp_path, "images/a.jpg", "labels/a.txt", "images/b.jpg")
    (tmp_path / "captions").mkdir()
    for name in "ab":
        (tmp_path / f"captions/{name}.txt").write_text("two cats")
    assert pairs(tmp_path)[1] == []


def test_labels_of_images_that_no_split_lists_are_in_their_place(tmp_path: Path) -> None:
    pairs(tmp_path, "images/a.jpg", "labels/a.txt", "images/b.jpg", "labels/b.txt", "test/c.jpg", "test/c.txt")
    assert pair_labels([[tmp_path / "images/a.jpg"]], list_files(tmp_path)).faults == []


def test_every_split_without_a_label_is_told(tmp_path: Path) -> None:
    pairs(tmp_path, "train/a.jpg", "train/a.txt", "val/b.jpg", "labels/c.txt")
    splits = [[tmp_path / "train/a.jpg"], [tmp_path / "val/b.jpg"]]
    words = "labels/c.txt, but that of val/b.jpg is looked for as val/b.txt"
    assert pair_labels(splits, list_files(tmp_path)).faults == [
        (None, (LABEL_WITHOUT_IMAGE, "labels/c.txt")),
        (splits[1][0], (MISPLACED_LABEL, words)),
    ]
