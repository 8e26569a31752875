"""What kinds of errors cost how much AP (TIDE: Bolya et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brs_detr.analysis.confusion import ImageBoxes
from brs_detr.analysis.matching import Matching

FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU from which a box is on an object, and up to which it is on none
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
    """One kind of error.

    Args:
        name: a key of `TYPES`.
        what: in words.
        count: detections or, of `missed`, objects.
        lost_AP50: by how much AP50 would rise if all errors of this kind alone were corrected; 0 where there is no AP.
    """

    name: str
    what: str
    count: int
    lost_AP50: float


@dataclass(frozen=True)
class _Errors:
    """For each detection its kind of error, or "", and the index of the object that it should have found, or -1."""

    kinds: NDArray[np.str_]
    wanted: NDArray[np.int64]


def error_types(matching: Matching, images: Sequence[ImageBoxes], num_classes: int) -> tuple[ErrorType, ...]:
    """Sort every wrong detection into one kind, and find the objects that none of them explains.

    Correcting a class or a localisation error makes the best such detection of an object right, if that object was not
    found otherwise, and takes the others away. Correcting any other kind takes the detections away; correcting missed
    objects takes the objects away.

    Args:
        matching: from `brs_detr.analysis.matching.read_matching`.
        images: with all detections.
        num_classes: of the data set.
    """
    errors = _sort_errors(matching, images)
    is_explained = matching.is_found.copy()
    explaining = np.isin(errors.kinds, ("class", "localisation"))
    is_explained[errors.wanted[explaining]] = True
    base = _mean_ap(matching.scores, matching.is_true, matching.detection_classes, matching.object_classes, num_classes)
    rows = []
    for name, what in TYPES.items():
        if name == "missed":
            count = int((~is_explained).sum())
            mended = _mean_ap(
                matching.scores,
                matching.is_true,
                matching.detection_classes,
                matching.object_classes[is_explained],
                num_classes,
            )
        else:
            count = int((errors.kinds == name).sum())
            mended = _mended_ap(matching, errors, name, num_classes)
        rows.append(ErrorType(name, what, count, _gain(base, mended)))
    return tuple(rows)


def _gain(base: float, mended: float) -> float:
    """What correcting brings; where it leaves no object to be found, all that there was to gain."""
    if np.isnan(base):
        return 0.0
    return max((1.0 if np.isnan(mended) else mended) - base, 0.0)


def _sort_errors(matching: Matching, images: Sequence[ImageBoxes]) -> _Errors:
    index_of_detection = {int(detection): index for index, detection in enumerate(matching.detections)}
    index_of_object = {int(number): index for index, number in enumerate(matching.objects)}
    kinds = np.full(len(matching.detections), "", dtype="<U12")
    wanted = np.full(len(matching.detections), -1)
    for image in images:
        objects = np.array([index_of_object[int(number)] for number in image.objects], np.int64)
        for row, detection in enumerate(image.detections):
            index = index_of_detection.get(int(detection))
            if index is not None and not matching.is_true[index]:
                kinds[index], target = _kind(image, row)
                wanted[index] = objects[target] if target >= 0 else -1
    return _Errors(kinds, wanted)


def _kind(image: ImageBoxes, row: int) -> tuple[str, int]:
    """Kind of a wrong detection, and the index of the object in the image that it should have found, -1 without."""
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


def _mended_ap(matching: Matching, errors: _Errors, name: str, num_classes: int) -> float:
    is_kept, is_true = errors.kinds != name, matching.is_true.copy()
    classes = matching.detection_classes.copy()
    if name in ("class", "localisation"):
        of_kind = np.flatnonzero(errors.kinds == name)
        best_first = of_kind[np.argsort(-matching.scores[of_kind], kind="stable")]
        targets = errors.wanted[best_first]
        _, firsts = np.unique(targets, return_index=True)
        mended = best_first[firsts]
        mended = mended[~matching.is_found[errors.wanted[mended]]]
        is_kept[mended] = is_true[mended] = True
        classes[mended] = matching.object_classes[errors.wanted[mended]]
    return _mean_ap(matching.scores[is_kept], is_true[is_kept], classes[is_kept], matching.object_classes, num_classes)


def _mean_ap(
    scores: NDArray[np.float64],
    is_true: NDArray[np.bool_],
    classes: NDArray[np.int64],
    object_classes: NDArray[np.int64],
    num_classes: int,
) -> float:
    """Mean over the classes that have an object of the AP at 101 recalls, as COCO measures it; NaN without any."""
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
