"""The splits to train with: those that are there, and those that have to be made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brs_detr.data.annotations import class_names_of, write_annotations
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.data.formats.coco_folder_reader import is_as_filed
from brs_detr.data.formats.source_split import SPLITS, DataSource, SourceSplit, SplitContent
from brs_detr.data.formats.splits_by_image import is_learnt, split_images
from brs_detr.errors import UserError, shortened

__all__ = ["describe_splits", "place_split", "place_splits", "split_images"]

VAL_FRACTION = 0.2
"""Share of the images that is held out where a data set has no validation split."""


def place_splits(
    source: DataSource,
    folder: Path,
    seed: int,
    val_fraction: float = VAL_FRACTION,
    class_names: Sequence[str] | None = None,
) -> dict[str, CocoSplit]:
    """Bring the splits of a data set into the form that training and evaluation read.

    COCO files that can be used as they are stay where they are. Everything else is written as COCO annotation files;
    images are never copied. A data set without splits is divided into train and val; from one that has `train` alone,
    val is held out. Where there is `test` and no `val`, nothing is held out.

    Nothing is checked: `brs_detr.data.checks.check` does that, and should have been asked before.

    Args:
        source: the data set.
        folder: where `train.json`, `val.json` and `test.json` are written, as far as they are needed. Several processes
            may do so at a time: the same data and seed give the same bytes.
        seed: of the choice of images that are held out.
        val_fraction: share of the images that is held out, between 0 and 1.
        class_names: that a model knows, by label; None for one that is yet to be made.

    Returns:
        The splits by name, in the order train, val, test. All have the same class names.

    Raises:
        UserError: a split cannot be read, the splits have different class names or others than the model, or there are
            too few images to hold some out. In the first three cases nothing has been written.
    """
    placed: dict[str, CocoSplit] = {}
    divided = _divided(source)
    contents = {name: source.splits[name].read() for name in SPLITS if name in source.splits}
    _require_names(source, contents, class_names)
    for name, content in contents.items():
        split = source.splits[name]
        if name == divided:
            placed |= _divide(split, content.dataset, folder, seed, val_fraction)
        else:
            placed[name] = _place(split, content, folder)
    return {name: placed[name] for name in ("train", "val", "test") if name in placed}


def place_split(split: SourceSplit, folder: Path) -> CocoSplit:
    """Bring a split that is there into the form that evaluation reads, whatever the others hold.

    Args:
        split: of a data set.
        folder: where its annotation file is written, if it needs one.
    """
    return _place(split, split.read(), folder)


def describe_splits(source: DataSource, seed: int, val_fraction: float = VAL_FRACTION) -> dict[str, str]:
    """How `place_splits` comes to each of its splits: `found`, or `made` and in which way."""
    divided = _divided(source)
    texts = {name: "found" for name in ("train", "val", "test") if name in source.splits}
    if divided is not None:
        share = round(100 * val_fraction, 2)
        how = f"by image, stratified by class, seed {seed}"
        texts["train"] = f"made: {100 - share:g} % of {_words(source, divided)}, {how}"
        texts["val"] = f"made: the other {share:g} %"
    return {name: texts[name] for name in ("train", "val", "test") if name in texts}


def _divided(source: DataSource) -> str | None:
    """The split that is divided into train and val, None where none needs to be."""
    if "all" in source.splits:
        return "all"
    return "train" if list(source.splits) == ["train"] else None


def _words(source: DataSource, divided: str) -> str:
    return "the images" if divided == "all" else f"the images of {source.splits[divided].file.name}"


def _divide(
    split: SourceSplit, dataset: dict[str, Any], folder: Path, seed: int, val_fraction: float
) -> dict[str, CocoSplit]:
    parts = split_images(dataset, {"train": 1 - val_fraction, "val": val_fraction}, seed)
    if not all(any(map(is_learnt, part["annotations"])) for part in parts.values()):
        raise UserError(
            f"{split.file} has {len(dataset['images'])} images, none of which can be held out for validation: "
            "each has no object, or the last one of a class, or is a copy of all others.",
            "Annotate more images, or add a validation split yourself.",
        )
    return {name: _write(name, split, part, folder) for name, part in parts.items()}


def _place(split: SourceSplit, content: SplitContent, folder: Path) -> CocoSplit:
    if split.is_coco and is_as_filed(content):
        return CocoSplit(split.name, split.file, split.image_dir)
    return _write(split.name, split, content.dataset, folder)


def _write(name: str, split: SourceSplit, dataset: Mapping[str, Any], folder: Path) -> CocoSplit:
    """Write an annotation file as a whole: a process that reads it meanwhile sees all of it or the one before."""
    file = folder / f"{name}.json"
    partial = folder / f".{name}.{os.getpid()}.partial"
    try:
        write_annotations(partial, dataset)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return CocoSplit(name, file, split.image_dir)


def _require_names(source: DataSource, contents: Mapping[str, SplitContent], expected: Sequence[str] | None) -> None:
    names = {
        source.splits[name].file: class_names_of(content.dataset, source.splits[name].file)
        for name, content in contents.items()
    }
    require_same_names({file: set(of_file) for file, of_file in names.items()})
    if expected is not None:
        file, found = next(iter(names.items()))
        require_known_names(source.names_file or file, found, expected)


def require_known_names(file: Path, names: Sequence[str], expected: Sequence[str]) -> None:
    """Refuse classes that a model would take for others.

    Args:
        file: that they are read from.
        names: by label.
        expected: those that the model was trained with, by label.

    Raises:
        UserError: a name is new, missing, or has another label.
    """
    if list(names) == list(expected):
        return
    found, known = dict.fromkeys(names), dict.fromkeys(expected)
    new = [name for name in found if name not in known]
    missing = [name for name in known if name not in found]
    parts = [f"{word}: {shortened(which)}" for word, which in (("new", new), ("missing", missing)) if which]
    if not parts:
        moved = [(name, before) for name, before in zip(names, expected, strict=True) if name != before]
        theirs, ours = map(shortened, zip(*moved, strict=True))
        parts = [f"in another order: {theirs}, where the run has {ours}"]
    raise UserError(
        f"{file} does not have the classes of the run; {'; '.join(parts)}.",
        "Go on with the classes as they were, or start anew: brs-detr finetune DATA --weights RUN --work-dir NEW.",
    )


def require_same_names(class_names: Mapping[Path, set[str]]) -> None:
    """Refuse splits that do not know the same classes.

    Args:
        class_names: by the file of the split, at least one.

    Raises:
        UserError: a split has other names than the first one.
    """
    (first, names), *others = class_names.items()
    for file, other_names in others:
        odd = names ^ other_names
        if odd:
            raise UserError(
                f"Only one of {first} and {file} knows the classes: {shortened(sorted(odd), 50)}.",
                "List the same categories in the annotation file of every split.",
            )
