"""Types of errors, and the AP that each costs (TIDE: Bolya et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brs_detr.analysis.confusion import ImageBoxes
from brs_detr.analysis.matching import Matching

FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU from which a box is on an object, and up to which it is on background
RECALLS = np.linspace(0, 1, 101)

TYPES = {
    "class": "on an object, but called by another class",
    "localisation": "the right class near an object, but the box overlaps it by less than an IoU of 0.5",
    "both": "near an object of another class",
    "duplicate": "on an object that a better detection has found already",
    "background": "on nothing",
    "missed": "an object that no detection is near enough to explain",
}


@dataclass(frozen=True)
class ErrorType:
    """One type of error.

    Args:
        name: key of `TYPES`.
        what: description.
        count: number of detections or, for `missed`, of objects.
        lost_AP50: rise of AP50 if only the errors of this type were corrected; 0 without objects.
    """

    name: str
    what: str
    count: int
    lost_AP50: float


@dataclass(frozen=True)
class _Errors:
    """Type of error of each detection, or "", and index of the object that it should have found, or -1."""

    types: NDArray[np.str_]
    wanted: NDArray[np.int64]


def error_types(matching: Matching, images: Sequence[ImageBoxes], num_classes: int) -> tuple[ErrorType, ...]:
    """Assign every wrong detection to one type of error, and count objects without any such detection as missed.

    Correcting class or localisation errors makes the best such detection of an object right, if nothing else found that
    object, and removes the others. Correcting errors of any other type removes the detections or, for missed objects,
    the objects.

    Args:
        matching: from `brs_detr.analysis.matching.read_matching`.
        images: with all detections.
        num_classes: number of classes of the dataset.
    """
    errors = _sort_errors(matching, images)
    is_explained = matching.is_found.copy()
    explaining = np.isin(errors.types, ("class", "localisation"))
    is_explained[errors.wanted[explaining]] = True
    base = _mean_ap(matching.scores, matching.is_true, matching.detection_classes, matching.object_classes, num_classes)
    rows = []
    for name, what in TYPES.items():
        count = int((~is_explained if name == "missed" else errors.types == name).sum())
        corrected = _corrected_ap(matching, errors, name, is_explained, num_classes)
        rows.append(ErrorType(name, what, count, _gain(base, corrected)))
    return tuple(rows)


def _gain(base: float, corrected: float) -> float:
    """Return the gain in AP; if the correction leaves no object, the AP counts as 1."""
    if np.isnan(base):
        return 0.0
    return max((1.0 if np.isnan(corrected) else corrected) - base, 0.0)


def _sort_errors(matching: Matching, images: Sequence[ImageBoxes]) -> _Errors:
    index_of_detection = {int(detection): index for index, detection in enumerate(matching.detections)}
    index_of_object = {int(number): index for index, number in enumerate(matching.objects)}
    types = np.full(len(matching.detections), "", dtype="<U12")
    wanted = np.full(len(matching.detections), -1)
    for image in images:
        objects = np.array([index_of_object[int(number)] for number in image.objects], np.int64)
        for row, detection in enumerate(image.detections):
            index = index_of_detection.get(int(detection))
            if index is not None and not matching.is_true[index]:
                types[index], target = _type_of_error(image, row)
                wanted[index] = objects[target] if target >= 0 else -1
    return _Errors(types, wanted)


def _type_of_error(image: ImageBoxes, row: int) -> tuple[str, int]:
    """Return the type of a wrong detection, and the index in the image of the object that it should find, or -1."""
    same_class = image.object_classes == image.detection_classes[row]
    of_class, of_others = (np.where(mask, image.ious[row], 0) for mask in (same_class, ~same_class))
    best_same, best_other = of_class.max(initial=0), of_others.max(initial=0)
    if BACKGROUND <= best_same < FOREGROUND:
        return "localisation", int(of_class.argmax())
    if best_other >= FOREGROUND:
        return "class", int(of_others.argmax())
    if best_same >= FOREGROUND:
        return "duplicate", -1
    if best_other > BACKGROUND:
        return "both", -1
    return "background", -1


def _corrected_ap(
    matching: Matching, errors: _Errors, name: str, is_explained: NDArray[np.bool_], num_classes: int
) -> float:
    is_kept, is_true = errors.types != name, matching.is_true.copy()
    classes, object_classes = matching.detection_classes.copy(), matching.object_classes
    if name == "missed":
        object_classes = object_classes[is_explained]
    if name in ("class", "localisation"):
        of_type = np.flatnonzero(errors.types == name)
        best_first = of_type[np.argsort(-matching.scores[of_type], kind="stable")]
        targets = errors.wanted[best_first]
        _, firsts = np.unique(targets, return_index=True)
        corrected = best_first[firsts]
        corrected = corrected[~matching.is_found[errors.wanted[corrected]]]
        is_kept[corrected] = is_true[corrected] = True
        classes[corrected] = object_classes[errors.wanted[corrected]]
    return _mean_ap(matching.scores[is_kept], is_true[is_kept], classes[is_kept], object_classes, num_classes)


def _mean_ap(
    scores: NDArray[np.float64],
    is_true: NDArray[np.bool_],
    classes: NDArray[np.int64],
    object_classes: NDArray[np.int64],
    num_classes: int,
) -> float:
    """Return COCO's AP at 101 recalls, averaged over the classes with objects; NaN without objects."""
    num_objects = np.bincount(object_classes, minlength=num_classes)
    order = np.argsort(-scores, kind="mergesort")
    aps = []
    for index in np.flatnonzero(num_objects):
        of_class = order[classes[order] == index]
        num_true = is_true[of_class].cumsum()
        recall = num_true / num_objects[index]
        precision = num_true / np.arange(1, len(of_class) + 1)
        highest = np.maximum.accumulate(precision[::-1])[::-1]
        reached = np.searchsorted(recall, RECALLS, side="left")
        aps.append(np.append(highest, 0.0)[np.minimum(reached, len(highest))].mean())
    return float(np.mean(aps)) if aps else float("nan")
