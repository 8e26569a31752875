from __future__ import annotations

from pathlib import Path

import numpy as np

from brs_detr.data.checks.class_check import (
    RARE_CLASS,
    UNMEASURED_CLASS,
    UNTRAINED_CLASS,
    UNUSED_CLASS,
    find_odd_counts,
    odd_classes,
)

NAMES = ["ant", "bee", "cat", "dog"]


def odd(**counts: list[int]) -> dict[str, tuple[str, ...]]:
    columns = {split: np.array(numbers) for split, numbers in counts.items()}
    return {finding.kind.what: finding.examples for finding in find_odd_counts(columns, NAMES)}


def test_classes_are_looked_up_in_every_split() -> None:
    assert odd(train=[10, 0, 9, 0], val=[1, 2, 0, 0], test=[0, 1, 0, 0]) == {
        UNUSED_CLASS.what: ("'dog'",),
        RARE_CLASS.what: ("'cat': 9 boxes to train with",),
        UNTRAINED_CLASS.what: ("'bee': 2 boxes in val, 1 box in test",),
        UNMEASURED_CLASS.what: ("'cat': 9 boxes in train",),
    }


def test_test_is_measured_on_where_there_is_no_val() -> None:
    assert UNMEASURED_CLASS.what in odd(train=[50, 50, 50, 50], test=[1, 1, 1, 0])


def test_a_data_set_without_splits_can_have_rare_and_unused_classes_alone() -> None:
    assert set(odd(all=[50, 1, 50, 0])) == {UNUSED_CLASS.what, RARE_CLASS.what}
    assert odd(val=[1, 1, 1, 1]) == {}


def test_without_any_box_no_class_is_called_unused() -> None:
    assert odd(train=[0, 0, 0, 0], val=[0, 0, 0, 0]) == {}


def test_classes_that_only_one_split_names() -> None:
    names = {Path("a"): ["ant", "bee"], Path("b"): ["bee", "ant"], Path("c"): ["bee", "cat"]}
    (finding,) = odd_classes(names)
    assert finding.count == 2 and finding.examples == ("Only one of a and c knows the classes: ant, cat.",)
    assert list(odd_classes({Path("a"): ["ant"]})) == []
