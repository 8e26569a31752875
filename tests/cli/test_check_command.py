from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from broken_data import ERRORS, make_broken
from click.testing import CliRunner
from good_data import edit_text, write_good_coco, write_good_voc, write_good_yolo

from brs_detr.cli import main


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["check", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_good_data_are_ready_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_good_voc(tmp_path / "blood")
    code, output = run("blood")
    assert code == 0 and "No errors: ready to train. 0 warnings, 0 notes." in output
    assert "Page: checks/blood/check.html" in output
    assert (tmp_path / "checks" / "blood" / "check.html").exists()
    record = json.loads((tmp_path / "checks" / "blood" / "check.json").read_text())
    assert record["findings"] == [] or {finding["severity"] for finding in record["findings"]} == {"note"}
    assert record["resized_to"] == [1333, 800]


def test_a_file_stands_for_its_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_good_yolo(tmp_path / "bees")
    assert "Page: checks/bees/check.html" in run("bees/data.yaml")[1]


def test_errors_end_with_exit_code_2_and_one_line(tmp_path: Path) -> None:
    make_broken(tmp_path / "set", "box outside")
    code, output = run(tmp_path / "set", "--out", tmp_path / "out")
    assert code == 2 and "Traceback" not in output
    assert output.strip().splitlines()[-1] == "1 error: training will refuse this data. 0 warnings, 0 notes."
    words = " ".join(output.split())
    assert ERRORS["box outside"].what in words and "annotation 3, image 2 (t01.jpg, 64 x 48): [60, 5, 10, 10]" in words


def test_the_size_decides_what_is_tiny(tmp_path: Path) -> None:
    make_broken(tmp_path / "set", "tiny box")
    assert "tiny box" in run(tmp_path / "set", "--out", tmp_path / "out", "--size", "128x96")[1]
    assert "tiny box" not in run(tmp_path / "set", "--out", tmp_path / "out", "--size", "1280x960")[1]


@pytest.mark.parametrize("size", ["big", "0x9", "12", "9x"])
def test_a_size_that_is_none_is_refused(tmp_path: Path, size: str) -> None:
    code, output = run(tmp_path, "--size", size)
    assert code == 2 and "1333x800" in output


def test_fix_writes_a_copy_and_says_what_it_did(tmp_path: Path) -> None:
    make_broken(tmp_path / "set", "missing image")
    code, output = run(tmp_path / "set", "--out", tmp_path / "out", "--fix", tmp_path / "fixed")
    assert code == 0
    assert "train       1  images left out: missing image file" in output
    assert f"Written to {tmp_path / 'fixed'}. No errors: ready to train." in output
    assert run(tmp_path / "fixed", "--out", tmp_path / "out")[0] == 0


def test_fix_says_what_is_left_for_the_user(tmp_path: Path) -> None:
    make_broken(tmp_path / "set", "box of two classes")
    code, output = run(tmp_path / "set", "--out", tmp_path / "out", "--fix", tmp_path / "fixed")
    before, _, after = output.partition("Not fixed in the copy")
    assert code == 0 and "There was nothing to fix." in before
    assert "one box with two classes" in after


def test_fix_refuses_what_it_cannot_mend(tmp_path: Path) -> None:
    make_broken(tmp_path / "set", "no size")
    code, output = run(tmp_path / "set", "--out", tmp_path / "out", "--fix", tmp_path / "fixed")
    assert code == 2 and "cannot be mended without you" in output and not (tmp_path / "fixed").exists()


def test_no_data_set_is_one_message(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        code, output = run(folder)
        assert code == 2 and output.startswith("Error: ")


def test_links_are_made_when_asked_for(tmp_path: Path) -> None:
    write_good_coco(tmp_path / "set")
    run(tmp_path / "set", "--out", tmp_path / "out", "--fix", tmp_path / "fixed", "--link")
    assert (tmp_path / "fixed" / "train" / "t00.jpg").samefile(tmp_path / "set" / "train" / "t00.jpg")


def test_files_outside_are_copied_when_that_is_allowed(tmp_path: Path) -> None:
    folder = write_good_coco(tmp_path / "set")
    shutil.move(folder / "train", tmp_path / "else")
    (folder / "train").symlink_to(tmp_path / "else")
    arguments = (folder, "--out", tmp_path / "out", "--fix", tmp_path / "fixed")
    code, output = run(*arguments)
    assert code == 2 and "--allow-outside" in output and not (tmp_path / "fixed").exists()
    code, output = run(*arguments, "--allow-outside")
    assert code == 0 and (tmp_path / "fixed" / "train" / "t00.jpg").is_file()


def test_names_that_no_console_can_show_are_shown_otherwise(tmp_path: Path) -> None:
    folder = write_good_yolo(tmp_path / "set")
    for place in ("images/train/t03.jpg", "labels/train/t03.txt"):
        old = os.fsencode(folder / place)
        os.rename(old, old.replace(b"t03", b"t\xe9"))  # noqa: PTH104  (bytes)
    edit_text(folder / "data.yaml", "ant", '"ant\\e[31m"')
    with Path(os.fsdecode(os.fsencode(folder / "labels/train") + b"/t\xe9.txt")).open("a") as file:
        file.write("x\n")
    code, output = run(folder, "--out", tmp_path / "out", "--fix", tmp_path / "fixed")
    assert code == 0 and "\x1b" not in output and r"ant\u001b[31m" in output and r"t\udce9.txt, line 3" in output
    for file in (*(tmp_path / "out").iterdir(), *(tmp_path / "fixed" / "annotations").iterdir()):
        text = file.read_text(encoding="utf-8")
        assert file.suffix != ".json" or json.loads(text)
    assert (os.fsencode(tmp_path / "fixed" / "train") + b"/t\xe9.jpg") in {
        os.fsencode(path) for path in (tmp_path / "fixed" / "train").iterdir()
    }


def test_a_link_in_the_place_of_a_page_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("check.html", "check.json"):
        (tmp_path / name).write_text("kept")
        (tmp_path / "out" / name).symlink_to(tmp_path / name)
    run(write_good_coco(tmp_path / "set"), "--out", tmp_path / "out")
    assert {(tmp_path / name).read_text() for name in ("check.html", "check.json")} == {"kept"}
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
