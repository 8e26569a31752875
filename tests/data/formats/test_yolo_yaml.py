from __future__ import annotations

from pathlib import Path

import pytest

from brs_detr.data.formats.yolo_yaml import is_data_yaml, longest_end, numbered_names, read_data_yaml, read_names_file
from brs_detr.data.kinds import MAX_CLASSES
from brs_detr.errors import UserError


def write(folder: Path, text: str, name: str = "data.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_everything_it_says_is_read(tmp_path: Path) -> None:
    text = "path: ..\ntrain: [a, b.txt]\nvalid: c\ntest:  # none\nnc: 2\nnames: {0: ant, 7: bee}\nkpt_shape: [17, 3]\n"
    data = read_data_yaml(write(tmp_path, text))
    assert data.splits == {"train": ("a", "b.txt"), "val": ("c",)}
    assert (data.names, data.num_classes, data.num_keypoint_columns) == ({0: "ant", 7: "bee"}, 2, 51)
    assert data.folders == [tmp_path / "..", Path(".."), tmp_path]


def test_names_stay_as_they_are_written(tmp_path: Path) -> None:
    data = read_data_yaml(write(tmp_path, "names: [no, 1, 'null', on off, Häuser 家, 1.50, '']\ntrain: ~\n"))
    assert list(data.names.values()) == ["no", "1", "null", "on off", "Häuser 家", "1.50", ""]
    assert data.splits == {} and data.num_classes is None and data.folders == [tmp_path]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names: [a, b\ntrain: c", r"is not valid YAML: .* at line \d, column \d"),
        ("names: [\x07]", "is not valid YAML: "),
        ("- a\n- b", "does not describe a dataset"),
        ("", "does not describe a dataset"),
        ("names: ant", "'names' in .* is neither a list nor numbers with names"),
        ("names: {ant: 0}", "'names' in .* is neither a list nor numbers"),
        ("names: [[a], b]", "'names' in .* holds something that is not a name"),
        ("names: {0: a, 0: b}", "is not valid YAML: '0' is there twice at line 1, column 15"),
        ("names: [a]\nnames: [b]", "is not valid YAML: 'names' is there twice at line 2, column 1"),
        ("val: a\nvalid: b\nnames: [c]", "names the split val twice, with other images"),
        ("names: [a]\nkpt_shape: 17", "'kpt_shape' in .* is not a count of key points and 2 or 3"),
        ("names: [a]\nkpt_shape: [17]", "'kpt_shape' in .* is not a count"),
        ("names: [a]\nkpt_shape: [17, 4]", "'kpt_shape' in .* is not a count"),
        ("train: {a: b}\nnames: [a]", "'train' in .* is neither a path nor a list"),
        ("names: [a]\nkpt_shape: [10001, 3]", "'kpt_shape' in .* is not a count"),
        (f"names: [a]\nkpt_shape: [{'9' * 5000}, 3]", "'kpt_shape' in .* is not a count"),
        ("train: a\nnc: 300000000", r"data\.yaml, line 2: nc is 300000000; at most 32,768 classes"),
        (f"train: a\nnc: {'9' * 5000}", r"data\.yaml, line 2: nc is 9+\.\.\.9+; at most"),
        ("names:\n  0: a\n  32768: b", r"data\.yaml, line 3: names has a class 32768; at most"),
        (f"nc: 1\nnames: [{'a, ' * 32769}]", r"data\.yaml, line 2: names has 32,769 entries; at most"),
        (f"names: {'[' * 5000}", "has lists in lists without end"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_data_yaml(write(tmp_path, text))


def test_as_many_classes_as_there_can_be(tmp_path: Path) -> None:
    data = read_data_yaml(write(tmp_path, "train: a\nnc: 32768\nnames: {32767: b, 0: a}"))
    assert data.num_classes == MAX_CLASSES and data.names == {32767: "b", 0: "a"}


@pytest.mark.parametrize("stated", ["a/" * 3000 + "images", "x" * 5000])
def test_a_path_that_no_disk_knows_leads_nowhere(tmp_path: Path, stated: str) -> None:
    (tmp_path / "images").mkdir()
    assert longest_end(stated, [tmp_path]) is None


def test_a_file_that_is_missing_or_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot open .*data.yaml: No such file"):
        read_data_yaml(tmp_path / "data.yaml")
    (tmp_path / "data.yaml").write_bytes(b"names: [\xff]")
    with pytest.raises(UserError, match="is not text in UTF-8"):
        read_data_yaml(tmp_path / "data.yaml")


@pytest.mark.parametrize(
    ("name", "text", "is_one"),
    [
        ("a.yaml", "train: x\nnc: 1", True),
        ("a.yaml", "names: [x]", True),
        ("model.yaml", "nc: 80\nbackbone: []", False),
        ("env.yaml", "name: x\ndependencies: [y]", False),
        ("list.yaml", "- names", False),
        ("broken.yaml", "names: [", False),
        ("data.yaml", "names: [", True),
    ],
)
def test_other_yaml_files_are_passed_over(tmp_path: Path, name: str, text: str, is_one: bool) -> None:
    assert is_data_yaml(write(tmp_path, text, name)) is is_one


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ("train/images", "train/images"),
        ("./train/images/", "train/images"),
        ("../train/images", "train/images"),
        ("../../x/train/images", "train/images"),
        ("C:\\data\\train\\images", "train/images"),
        ("/content/set/train", "train"),
        ("data/train/images/a.jpg", "train/images/a.jpg"),
        ("/content/set/images", None),  # too little to go by
        ("images", "images"),
        ("val/images", None),
    ],
)
def test_paths_of_other_machines_are_found_by_their_end(tmp_path: Path, stated: str, found: str | None) -> None:
    (tmp_path / "set" / "train" / "images").mkdir(parents=True)
    (tmp_path / "set" / "images").mkdir()
    (tmp_path / "set" / "train" / "images" / "a.jpg").touch()
    assert longest_end(stated, [tmp_path / "set"]) == (tmp_path / "set" / found if found else None)


def test_capitals_of_keys_do_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "data.yaml"
    file.write_text("Train: images/train\nVal: images/val\nNames: [ant, bee]\nNC: 2\n")
    data = read_data_yaml(file)
    assert is_data_yaml(file) and data.names == {0: "ant", 1: "bee"} and list(data.splits) == ["train", "val"]
    file.write_text("Names: [ant]\nnames: [bee]\n")
    with pytest.raises(UserError, match="has the key 'names' twice"):
        read_data_yaml(file)


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
