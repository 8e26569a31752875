"""The splits to train with: those that exist, and those that are made by dividing the images."""

from __future__ import annotations

import heapq
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brs_detr.data.annotations import class_names_of, write_annotations
from brs_detr.data.formats.coco_folder import CocoSplit, is_as_filed, require_same_names
from brs_detr.data.formats.layout import SPLITS, DataSource, SourceSplit, SplitContent
from brs_detr.errors import UserError, shortened
from brs_detr.files import written_whole

VAL_FRACTION = 0.2
"""Share of the images that becomes the validation split of a dataset that has none."""

_COPY = re.compile(r"\.rf\.[0-9A-Za-z]+(?=\.[^.]*$)")


def place_splits(
    source: DataSource,
    folder: Path,
    seed: int,
    val_fraction: float = VAL_FRACTION,
    class_names: Sequence[str] | None = None,
) -> dict[str, CocoSplit]:
    """Provide the splits of a dataset as the COCO files that training and evaluation read.

    COCO files that can be used unchanged stay where they are. Everything else is written as COCO annotation files;
    images are never copied. A dataset without splits, or with `train` alone, is divided into train and val. Where
    there is `test` and no `val`, nothing is divided. Nothing is checked: run `brs_detr.data.checks.check` before.

    Args:
        source: the dataset.
        folder: target of `train.json`, `val.json` and `test.json`, as far as they are needed. Several processes may
            write at a time: the same data and seed give the same bytes.
        seed: of the choice of validation images.
        val_fraction: share of the images that validate, between 0 and 1.
        class_names: of a trained model, by label; None for a new one.

    Returns:
        The splits by name, in the order train, val, test. All have the same class names.

    Raises:
        UserError: a split cannot be read, the splits have different class names or others than the model, or there are
            too few images to divide. In the first three cases nothing has been written.
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
    """Provide one existing split as `place_splits` does; its annotation file is written to `folder` if needed."""
    return _place(split, split.read(), folder)


def describe_splits(source: DataSource, seed: int, val_fraction: float = VAL_FRACTION) -> dict[str, str]:
    """How `place_splits` gets each of its splits: `found`, or `made` and in which way."""
    divided = _divided(source)
    texts = {name: "found" for name in ("train", "val", "test") if name in source.splits}
    if divided is not None:
        share = round(100 * val_fraction, 2)
        images = "the images" if divided == "all" else f"the images of {source.splits[divided].file.name}"
        how = f"by image, stratified by class, seed {seed}"
        texts["train"] = f"made: {100 - share:g} % of {images}, {how}"
        texts["val"] = f"made: the other {share:g} %"
    return {name: texts[name] for name in ("train", "val", "test") if name in texts}


def _divided(source: DataSource) -> str | None:
    if "all" in source.splits:
        return "all"
    return "train" if list(source.splits) == ["train"] else None


def _divide(
    split: SourceSplit, dataset: dict[str, Any], folder: Path, seed: int, val_fraction: float
) -> dict[str, CocoSplit]:
    parts = split_images(dataset, {"train": 1 - val_fraction, "val": val_fraction}, seed)
    if not all(any(map(_is_learnt, part["annotations"])) for part in parts.values()):
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
    with written_whole(file) as partial:
        write_annotations(partial, dataset)
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
        file: of the class names, for the message.
        names: by label.
        expected: class names that the model was trained with, by label.

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


@dataclass(frozen=True)
class _Unit:
    key: str
    image_ids: tuple[Any, ...]
    classes: frozenset[Any]


class _Members:
    """Units in order, also by class; adding and removing takes constant time however many classes there are."""

    def __init__(self, units: Iterable[_Unit] = ()) -> None:
        self.units: dict[str, _Unit] = {}
        self.classes: dict[Any, dict[str, _Unit]] = {}
        for unit in units:
            self.add(unit)

    def of_class(self, label: Any) -> list[_Unit]:
        return list(self.classes.get(label, {}).values())

    def count(self, label: Any) -> int:
        return len(self.classes.get(label, ()))

    def add(self, unit: _Unit) -> None:
        self.units[unit.key] = unit
        for label in unit.classes:
            self.classes.setdefault(label, {})[unit.key] = unit

    def remove(self, unit: _Unit) -> None:
        del self.units[unit.key]
        for label in unit.classes:
            del self.classes[label][unit.key]


def split_images(dataset: dict[str, Any], fractions: Mapping[str, float], seed: int) -> dict[str, dict[str, Any]]:
    """Divide a dataset by image, stratified by class.

    Greedy iterative stratification (Sechidis et al., ECML 2011): the rarest class is assigned first, each image to the
    part that lacks most of it. Every class is in the largest part, and in each other part as far as it has enough
    images. Copies that Roboflow made of one image (`a_jpg.rf.HASH.jpg`) stay together.

    Args:
        dataset: COCO object; it is not changed.
        fractions: share of each part by name, at least two, relative to their sum.
        seed: of the choice, which does not depend on the order of images in the file.

    Returns:
        For each name a COCO object with all categories, and with images and annotations in the order of the file.
    """
    units = sorted(_units(dataset), key=lambda unit: unit.key)
    random.Random(seed).shuffle(units)
    parts = _deal_out(units, {name: share / sum(fractions.values()) for name, share in fractions.items()})
    _even_out(parts, max(fractions, key=lambda name: fractions[name]))
    return {name: _part(dataset, members.units.values()) for name, members in parts.items()}


def _is_learnt(annotation: dict[str, Any]) -> bool:
    return not annotation.get("iscrowd") and min(annotation["bbox"][2:]) > 0


def _units(dataset: dict[str, Any]) -> list[_Unit]:
    classes: dict[Any, set[Any]] = {}
    for annotation in filter(_is_learnt, dataset["annotations"]):
        classes.setdefault(annotation["image_id"], set()).add(annotation["category_id"])
    groups: dict[str, list[Any]] = {}
    for image in dataset["images"]:
        groups.setdefault(_COPY.sub("", image["file_name"]), []).append(image["id"])
    return [
        _Unit(key, tuple(ids), frozenset().union(*(classes.get(image_id, ()) for image_id in ids)))
        for key, ids in groups.items()
    ]


def _deal_out(units: list[_Unit], shares: Mapping[str, float]) -> dict[str, _Members]:
    parts = {name: _Members() for name in shares}
    counts = Counter(label for unit in units for label in unit.classes)
    wanted = _wanted(counts, shares)
    room = {name: share * len(units) for name, share in shares.items()}
    left = _Members(units)
    rarest_first = [(count, label) for label, count in counts.items()]
    heapq.heapify(rarest_first)

    def deal_out(unit: _Unit, rarest: Any) -> None:
        name = max(shares, key=lambda part: _need(unit, rarest, wanted[part], room[part]))
        left.remove(unit)
        parts[name].add(unit)
        room[name] -= 1
        for label in unit.classes:
            wanted[name][label] -= 1
            heapq.heappush(rarest_first, (left.count(label), label))

    while rarest_first:
        count, rarest = heapq.heappop(rarest_first)
        if count == left.count(rarest):  # else it has become rarer since
            for unit in left.of_class(rarest):
                deal_out(unit, rarest)
    for unit in list(left.units.values()):
        deal_out(unit, None)
    return parts


def _wanted(counts: Counter[Any], shares: Mapping[str, float]) -> dict[str, dict[Any, float]]:
    """How many units with each class each part should have: its share, at least one where there are enough."""
    largest = max(shares, key=lambda name: shares[name])
    wanted: dict[str, dict[Any, float]] = {name: {} for name in shares}
    for label, count in counts.items():
        least = 1 if count >= len(shares) else 0
        for name, share in shares.items():
            wanted[name][label] = max(share * count, least)
        others = sum(wanted[name][label] for name in shares if name != largest)
        wanted[largest][label] = count - others
    return wanted


def _need(unit: _Unit, rarest: Any, wanted: Mapping[Any, float], room: float) -> tuple[float, float, float]:
    """How much a part needs a unit: for the class at hand, for its classes together, for its size."""
    return (wanted[rarest] if rarest is not None else 0, sum(wanted[label] for label in unit.classes), room)


def _even_out(parts: dict[str, _Members], largest: str) -> None:
    """Bring every class into the largest part, then into the others where it is not the last of its class there."""
    others = [name for name in parts if name != largest]
    moves = [(name, largest, False) for name in others] + [(largest, name, True) for name in others]
    for source, target, keep in moves:
        for label in sorted(parts[source].classes):
            if parts[source].count(label) and not parts[target].count(label):
                unit = _movable(parts[source], label, keep)
                if unit is not None:
                    parts[source].remove(unit)
                    parts[target].add(unit)


def _movable(members: _Members, label: Any, keep: bool) -> _Unit | None:
    """Of the units with a class the one with the fewest classes; with `keep` none that is the last of a class."""
    movable = members.of_class(label)
    if keep:
        movable = [unit for unit in movable if all(members.count(other) > 1 for other in unit.classes)]
    return min(movable, key=lambda unit: len(unit.classes), default=None)


def _part(dataset: dict[str, Any], members: Iterable[_Unit]) -> dict[str, Any]:
    ids = {image_id for unit in members for image_id in unit.image_ids}
    images = [image for image in dataset["images"] if image["id"] in ids]
    annotations = [annotation for annotation in dataset["annotations"] if annotation["image_id"] in ids]
    return {**dataset, "images": images, "annotations": annotations}
