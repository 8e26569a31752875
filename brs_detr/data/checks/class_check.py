"""Check which classes the splits of a data set name and annotate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brs_detr.data.findings import Example, FaultKind, Finding

ODD_CLASS = FaultKind(
    "classes that not every split names", "List the same categories in the annotation file of every split."
)
UNUSED_CLASS = FaultKind(
    "class without any box",
    "Nothing can be learnt of it, and it takes a place among the classes. Annotate it, or take it out of the list.",
    "warning",
)
RARE_CLASS = FaultKind("rare class", "Annotate more of it: so few boxes are learnt by heart.", "warning")
UNTRAINED_CLASS = FaultKind(
    "class that is measured and not trained", "Its AP will be 0. Annotate it in the training images.", "warning"
)
UNMEASURED_CLASS = FaultKind(
    "class that is trained and not measured", "It will have no AP. Move images of it into val.", "warning"
)

MIN_BOXES = 10
"""Boxes in the training images below which a class is called rare."""


def odd_classes(names: Mapping[Path, Sequence[str]]) -> Iterator[Finding]:
    """Classes that only one of the first split and another one names.

    Args:
        names: class names by annotation file, one entry a split.
    """
    first, *others = names.items()
    odd = {file: sorted(set(first[1]) ^ set(listed)) for file, listed in others}
    texts = [
        f"Only one of {first[0]} and {file} knows the classes: {', '.join(classes)}."
        for file, classes in odd.items()
        if classes
    ]
    if texts:
        yield Finding(ODD_CLASS, sum(map(len, odd.values())), tuple(map(Example, texts)))


def find_odd_counts(counts: Mapping[str, NDArray[np.int64]], class_names: Sequence[str]) -> Iterator[Finding]:
    """Classes with no box, few boxes, or boxes in some splits only.

    Args:
        counts: by split, the number of boxes of each class.
        class_names: of the data set.
    """
    trained = counts.get("train", counts.get("all"))
    measured = {split: count for split, count in counts.items() if split in ("val", "test")}
    held_out = measured.get("val", measured.get("test"))
    total = sum(counts.values(), np.zeros(len(class_names), dtype=np.int64))

    def classes(mask: NDArray[np.bool_], remark: Callable[[int], str]) -> list[str]:
        return [f"{class_names[at]!r}{remark(at)}" for at in np.flatnonzero(mask).tolist()]

    faults = {UNUSED_CLASS: classes((total == 0) & total.any(), lambda at: "")}  # without any box there is an error
    if trained is not None:
        is_rare = (trained > 0) & (trained < MIN_BOXES)
        is_untrained = (trained == 0) & (total > 0)
        faults[RARE_CLASS] = classes(is_rare, lambda at: f": {_boxes(trained[at])} to train with")
        faults[UNTRAINED_CLASS] = classes(is_untrained, lambda at: f": {_by_split(measured, at)}")
        if held_out is not None:
            is_unmeasured = (trained > 0) & (held_out == 0)
            faults[UNMEASURED_CLASS] = classes(is_unmeasured, lambda at: f": {_boxes(trained[at])} in train")
    return (Finding.of(kind, examples, len(class_names)) for kind, examples in faults.items() if examples)


def _boxes(count: int) -> str:
    return f"{count} box" if count == 1 else f"{count} boxes"


def _by_split(counts: Mapping[str, NDArray[np.int64]], label: int) -> str:
    return ", ".join(f"{_boxes(count[label])} in {split}" for split, count in counts.items() if count[label])
