from __future__ import annotations

from pathlib import Path

import pytest

from brs_detr.data.formats.layout import (
    DiskNames,
    common_folder,
    describe_folder,
    list_files,
    make_dataset,
    name_below,
    name_faults,
)
from brs_detr.data.kinds import EMPTY_NAME, MAX_NAME, ODD_NAME, SIMILAR_NAMES
from brs_detr.errors import UserError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_files_are_listed_in_order_without_hidden_ones(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.JPG", "b/10.txt", "a.png", ".git/x.jpg", "__MACOSX/._y.jpg", "b/._z.jpg")
    files = list_files(tmp_path)
    assert [path.as_posix() for path in files.paths] == ["a.png", "b/10.txt", "b/2.JPG"]
    assert [path.as_posix() for path in files.images] == ["a.png", "b/2.JPG"]
    assert files.ending(".txt", ".png") == (Path("a.png"), Path("b/10.txt"))


def test_runs_and_predictions_inside_are_no_data(tmp_path: Path) -> None:
    touch(
        tmp_path, "a.jpg", "work_dirs/x/run.json", "work_dirs/x/report/b.jpg", "found/predictions.json", "found/c.jpg"
    )
    assert list_files(tmp_path).images == (Path("a.jpg"),)
    assert list_files(tmp_path / "found").images == (Path("c.jpg"),)  # when it is asked for


def test_links_are_followed_unless_they_lead_back(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "a.jpg")
    touch(tmp_path / "set", "deep/b.jpg")
    for name in ("train", "val"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "deep" / "back").symlink_to(tmp_path / "set")
    names = [path.as_posix() for path in list_files(tmp_path / "set").paths]
    assert names == ["deep/b.jpg", "train/a.jpg", "val/a.jpg"]


def test_links_that_lead_round_and_round_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "to_b").symlink_to("../b")
    (tmp_path / "b" / "to_a").symlink_to("../a")
    names = [path.as_posix() for path in list_files(tmp_path).paths]
    assert names == ["a/1.jpg", "a/to_b/2.jpg", "b/2.jpg", "b/to_a/1.jpg"]


def test_links_that_double_at_every_step_are_refused(tmp_path: Path) -> None:
    for depth in range(30):
        (tmp_path / f"d{depth}").mkdir()
        for name in "ab":
            (tmp_path / f"d{depth}" / name).symlink_to(f"../d{depth + 1}")
    touch(tmp_path, "d30/a.jpg")
    with pytest.raises(UserError, match="by more than 8 links"):
        list_files(tmp_path / "d0")


def test_a_long_folder_is_described_in_short(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number}.txt" for number in range(9)), "0/a.jpg", "0/b/c.jpg", "0/b/LICENSE")
    (tmp_path / "00").mkdir()
    text = describe_folder(tmp_path)
    assert text.startswith("0/ (2 .jpg, 1 LICENSE), 0.txt, 00/ (empty), 1.txt") and text.endswith(" and 3 more")


def test_the_common_folder_of_mixed_paths_is_absolute(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert common_folder([Path("a/b/1.jpg"), Path("a/2.jpg")], Path("x")) == Path("a")
    assert common_folder([Path("a/1.jpg"), tmp_path / "b" / "2.jpg"], Path("x")) == tmp_path
    assert common_folder([], Path("x")) == Path("x")


def test_a_name_outside_of_the_folder_is_told_in_full() -> None:
    assert name_below(Path("set/a/b.jpg"), Path("set")) == "a/b.jpg"
    assert name_below(Path("/other/b.jpg"), Path("set")) == "/other/b.jpg"


def test_names_are_found_whatever_their_case_and_normal_form(tmp_path: Path) -> None:
    touch(tmp_path, "A/\u00fc.txt", "A/b.txt", "A/B.txt", "A/B.TXT")
    names = DiskNames()
    assert names.find(tmp_path / "a" / "U\u0308.TXT") == [tmp_path / "A" / "\u00fc.txt"]
    assert names.find(tmp_path / "a" / "b.txt") == [tmp_path / "A" / "b.txt"]  # the spelling that is asked for
    assert names.find(tmp_path / "a" / "b.Txt") == [tmp_path / "A" / name for name in ("B.TXT", "B.txt", "b.txt")]
    assert names.find(tmp_path / "b" / "c") == names.find(tmp_path / "A" / ("x" * 300)) == []


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UserError, match=r"Cannot list the folder .*: Permission denied\.\n  Check"):
        DiskNames().find(tmp_path / "a")


def test_numbers_become_ids_from_one_and_keep_their_gaps() -> None:
    dataset, _ = make_dataset([], {7: "b", 0: "a"}, Path())
    assert dataset["categories"] == [{"id": 1, "name": "a"}, {"id": 8, "name": "b"}]


def test_spellings_of_one_name_are_gathered() -> None:
    names = ["traffic light", "Traffic_Light", "cafe\u0301", "caf\u00e9", "cat", "cat", "cats", "traffic-light"]
    assert list(name_faults(names, "classes.txt")) == [
        (SIMILAR_NAMES, "classes.txt: 'traffic light', 'Traffic_Light', 'traffic-light'"),
        (SIMILAR_NAMES, "classes.txt: 'cafe\u0301', 'caf\u00e9'"),
    ]
    assert not SIMILAR_NAMES.is_fatal


def test_a_name_without_a_letter_is_fatal() -> None:
    assert list(name_faults(["a", " "], "x")) == [(EMPTY_NAME, "x, class 2 of the list")] and EMPTY_NAME.is_fatal


def test_a_name_that_cannot_be_written_is_fatal() -> None:
    (half, long) = name_faults(["a\ud800", "b" * (MAX_NAME + 1), "c" * MAX_NAME], "x")
    assert half[0] == long[0] == ODD_NAME and ODD_NAME.is_fatal
    assert half[1].isascii() and len(long[1]) < 150
