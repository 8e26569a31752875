"""Divide the images of a data set so that every part has its share of every class."""

from __future__ import annotations

import heapq
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Entry = dict[str, Any]

_COPY = re.compile(r"\.rf\.[0-9A-Za-z]+(?=\.[^.]*$)")


@dataclass(frozen=True)
class _Unit:
    """Images that must stay together, and the categories of the objects in them."""

    key: str
    image_ids: tuple[Any, ...]
    classes: frozenset[Any]


class _Members:
    """Units in order, also by class, however many classes there are."""

    def __init__(self, units: Iterable[_Unit] = ()) -> None:
        self._units: dict[str, _Unit] = {}
        self.classes: dict[Any, dict[str, _Unit]] = {}
        for unit in units:
            self.add(unit)

    def units(self) -> list[_Unit]:
        return list(self._units.values())

    def of_class(self, label: Any) -> list[_Unit]:
        return list(self.classes.get(label, {}).values())

    def count(self, label: Any) -> int:
        return len(self.classes.get(label, ()))

    def add(self, unit: _Unit) -> None:
        self._units[unit.key] = unit
        for label in unit.classes:
            self.classes.setdefault(label, {})[unit.key] = unit

    def remove(self, unit: _Unit) -> None:
        del self._units[unit.key]
        for label in unit.classes:
            del self.classes[label][unit.key]


def split_images(dataset: dict[str, Any], fractions: Mapping[str, float], seed: int) -> dict[str, dict[str, Any]]:
    """Divide a data set by image, stratified by class.

    Greedy iterative stratification (Sechidis et al., ECML 2011): the rarest class is dealt out first, each image to the
    part that lacks most of it. Every class is in the largest part, and in each other part too as far as it has images
    enough. Copies that Roboflow made of one picture (`a_jpg.rf.HASH.jpg`) stay together.

    Args:
        dataset: COCO object; it is not changed.
        fractions: share of each part by name, at least two; they are taken relative to their sum.
        seed: of the choice. The order of images in the file plays no part in it.

    Returns:
        For each name a COCO object with all categories, and with images and annotations in the order of the file.
    """
    units = _shuffled(_units(dataset), seed)
    parts = _deal_out(units, {name: share / sum(fractions.values()) for name, share in fractions.items()})
    _even_out(parts, max(fractions, key=lambda name: fractions[name]))
    return {name: _part(dataset, members.units()) for name, members in parts.items()}


def is_learnt(annotation: Entry) -> bool:
    """Whether an annotation is neither a crowd nor a box of zero area."""
    return not annotation.get("iscrowd") and min(annotation["bbox"][2:]) > 0


def _units(dataset: dict[str, Any]) -> list[_Unit]:
    classes: dict[Any, set[Any]] = {}
    for annotation in filter(is_learnt, dataset["annotations"]):
        classes.setdefault(annotation["image_id"], set()).add(annotation["category_id"])
    groups: dict[str, list[Any]] = {}
    for image in dataset["images"]:
        groups.setdefault(_COPY.sub("", image["file_name"]), []).append(image["id"])
    return [
        _Unit(key, tuple(ids), frozenset().union(*(classes.get(image_id, ()) for image_id in ids)))
        for key, ids in groups.items()
    ]


def _shuffled(units: Iterable[_Unit], seed: int) -> list[_Unit]:
    ordered = sorted(units, key=lambda unit: unit.key)
    random.Random(seed).shuffle(ordered)
    return ordered


def _deal_out(units: list[_Unit], shares: Mapping[str, float]) -> dict[str, _Members]:
    parts = {name: _Members() for name in shares}
    counts = _counts(units)
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
    for unit in left.units():
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
    """The unit with the fewest classes among those that have `label`.

    Args:
        members: of a part.
        label: class that it must have.
        keep: whether one that is the last of any of its classes has to stay.
    """
    movable = members.of_class(label)
    if keep:
        movable = [unit for unit in movable if all(members.count(other) > 1 for other in unit.classes)]
    return min(movable, key=lambda unit: len(unit.classes), default=None)


def _counts(units: Iterable[_Unit]) -> Counter[Any]:
    return Counter(label for unit in units for label in unit.classes)


def _part(dataset: dict[str, Any], members: Iterable[_Unit]) -> dict[str, Any]:
    ids = {image_id for unit in members for image_id in unit.image_ids}
    images = [image for image in dataset["images"] if image["id"] in ids]
    annotations = [annotation for annotation in dataset["annotations"] if annotation["image_id"] in ids]
    return {**dataset, "images": images, "annotations": annotations}
