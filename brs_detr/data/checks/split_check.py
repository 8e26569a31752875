"""Check whether a data set has what training needs: images to train with, and others to measure with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from brs_detr.data.findings import FaultKind, Finding
from brs_detr.data.formats.source_split import DataSource
from brs_detr.data.formats.splits import VAL_FRACTION, describe_splits, place_splits
from brs_detr.errors import UserError

NO_TRAINING_SPLIT = FaultKind(
    "no split to train with", "Add one; docs/data.md shows how a data set folder is laid out."
)
INDIVISIBLE = "data that cannot be divided for training"
HELD_OUT = FaultKind(
    "no split to measure with",
    f"{100 * VAL_FRACTION:g} % of the images are held out. Divide the data yourself where images belong together.",
    "note",
)
TEST_FOR_VAL = FaultKind(
    "no split to measure with while training",
    "test stands in for it, so that the best epoch is chosen by the images that judge it. Add a val split.",
    "warning",
)


def find_odd_splits(source: DataSource, is_sound: bool) -> Iterator[Finding]:
    """What is missing among the splits of a data set.

    Args:
        source: the data set.
        is_sound: whether nothing fatal was found in any split; only then is it tried to divide it.
    """
    names = list(source.splits)
    if "all" in names or names == ["train"]:
        yield from _divided(source) if is_sound else ()
    elif "train" not in names:
        yield Finding.of(NO_TRAINING_SPLIT, [f"{source.folder} has no train split, only {', '.join(names)}."])
    elif "val" not in names:
        yield Finding.of(TEST_FOR_VAL, [f"{source.folder} has {', '.join(names)}"])


def _divided(source: DataSource) -> Iterator[Finding]:
    try:
        with tempfile.TemporaryDirectory(prefix="brs-detr-") as folder:
            place_splits(source, Path(folder), seed=0)
    except UserError as error:
        yield Finding.of(FaultKind(INDIVISIBLE, error.cure or "Divide it yourself."), [error.message])
        return
    yield Finding.of(HELD_OUT, [text for text in describe_splits(source, seed=0).values() if text != "found"][:1])
