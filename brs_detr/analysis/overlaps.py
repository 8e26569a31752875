"""Which detection overlaps which object, however little: COCO's own matching at IoU 0."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.analysis.matching import Matching, read_matching

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval

_ANY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Overlaps:
    """Detections, best first, have each taken the free object of their class that they overlap most.

    Args:
        matching: a detection is right that overlaps the object by an IoU above 0.
        ious: [D] with the object that was found, 0 without one.
    """

    matching: Matching
    ious: NDArray[np.float64]


def read_overlaps(evaluation: COCOeval) -> Overlaps:
    """Match once more what `brs_detr.analysis.coco_ap.evaluate_boxes` has matched.

    A detection beside all objects takes none. (The code that the authors of LaECE_0 published lets it take a free one
    with an IoU of 0, which a worse detection on it then lacks.)
    """
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        again = COCOeval(evaluation.cocoGt, evaluation.cocoDt, "bbox")
        again.params.iouThrs = np.array([_ANY])
        again.params.areaRng, again.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
        again.params.maxDets = evaluation.params.maxDets
        again.evaluate()
    matching = read_matching(again)
    return Overlaps(matching, _ious(again, matching))


def _ious(evaluation: COCOeval, matching: Matching) -> NDArray[np.float64]:
    ious = np.zeros(len(matching.scores))
    is_true = matching.is_true
    detected = _corners(evaluation.cocoDt.dataset["annotations"], matching.detections[is_true])
    objects = _corners(evaluation.cocoGt.dataset["annotations"], matching.objects[matching.found[is_true]])
    shared = _area(np.maximum(detected[:2], objects[:2]), np.minimum(detected[2:], objects[2:]))
    both = _area(detected[:2], detected[2:]) + _area(objects[:2], objects[2:])
    ious[is_true] = shared / (both - shared)
    return ious


def _corners(entries: list[dict[str, Any]], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """[4, N] x1, y1, x2, y2."""
    x, y, w, h = np.array([entries[place]["bbox"] for place in places], np.float64).reshape(-1, 4).T
    return np.stack([x, y, x + w, y + h])


def _area(upper_left: NDArray[np.float64], lower_right: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = np.prod(lower_right - upper_left, axis=0)
    return area
