from __future__ import annotations

from brs_detr.data.formats.source_names import (
    EMPTY_NAME,
    MAX_NAME,
    ODD_NAME,
    SIMILAR_NAMES,
    make_categories,
    name_faults,
)


def test_numbers_become_ids_from_one_and_keep_their_gaps() -> None:
    assert make_categories({7: "b", 0: "a"}) == [{"id": 1, "name": "a"}, {"id": 8, "name": "b"}]


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
