"""Precision against recall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval


@dataclass(frozen=True)
class PRCurve:
    """A curve of one class, or of the mean over the classes that have an object.

    Args:
        name: of the class, or `all classes`.
        recall: [101] from 0 to 1.
        precision50: [101] highest precision at this recall or a higher one, at IoU 0.5; NaN where nothing is measured.
        precision: [101] its mean over IoU 0.5, 0.55, ..., 0.95. The mean of this curve is the AP.
        num_boxes: objects.
    """

    name: str
    recall: NDArray[np.float64]
    precision50: NDArray[np.float64]
    precision: NDArray[np.float64]
    num_boxes: int


def pr_curves(evaluation: COCOeval, num_boxes: dict[str, int]) -> tuple[PRCurve, ...]:
    """The curve of all classes, then one for each.

    Args:
        evaluation: from `brs_detr.analysis.coco_ap.evaluate_boxes`.
        num_boxes: objects of each class by name, in the order of the category ids.
    """
    precision = evaluation.eval["precision"][..., 0, -1]  # [IoU threshold, recall, class]
    measured = np.where(precision > -1, precision, np.nan)
    recall = np.asarray(evaluation.params.recThrs, np.float64)
    curves = [
        PRCurve(name, recall, measured[0, :, place], measured[:, :, place].mean(0), count)
        for place, (name, count) in enumerate(num_boxes.items())
    ]
    has_objects = ~np.isnan(measured[0, 0])
    if not has_objects.any():
        nothing = np.full(len(recall), np.nan)
        return (PRCurve("all classes", recall, nothing, nothing, 0), *curves)
    of_all = measured[:, :, has_objects].mean(2)
    return (PRCurve("all classes", recall, of_all[0], of_all.mean(0), sum(num_boxes.values())), *curves)
