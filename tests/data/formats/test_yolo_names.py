from __future__ import annotations

from pathlib import Path

import pytest

from brs_detr.data.bounds import MAX_CLASSES
from brs_detr.data.formats.yolo_names import numbered_names, read_names_file
from brs_detr.errors import UserError


def test_as_many_lines_as_there_can_be_classes_are_read(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("".join(f"k{number}\n" for number in range(MAX_CLASSES)))
    assert len(read_names_file(tmp_path / "classes.txt")) == MAX_CLASSES
    with (tmp_path / "classes.txt").open("a") as file:
        file.write("one more\n")
    with pytest.raises(UserError, match=r"classes\.txt, line 32,769: there are 32,769 lines; at most 32,768 classes"):
        read_names_file(tmp_path / "classes.txt")


def test_names_are_made_up_to_the_highest_number() -> None:
    assert numbered_names([2, 0], None) == {0: "class_0", 1: "class_1", 2: "class_2"}
    assert numbered_names([], 2) == {0: "class_0", 1: "class_1"} and numbered_names([], None) == {}
