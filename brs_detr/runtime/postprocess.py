"""From candidates to detections."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brs_detr.runtime.artefact_info import Postprocessing
from brs_detr.runtime.session import Outputs


def detected(outputs: Outputs, settings: Postprocessing) -> Outputs:
    """The detections of one image, best first.

    Args:
        outputs: of an artefact: boxes [N, 4], scores [N], labels [N].
        settings: what is left to do.
    """
    chosen = np.flatnonzero(outputs.scores >= 0) if settings.inside else best_candidates(*outputs, settings)
    boxes, scores, labels = outputs.boxes[chosen], outputs.scores[chosen], outputs.labels[chosen]
    if settings.score_map is not None:
        scores = settings.score_map(scores, labels).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    return Outputs(boxes[order], scores[order], labels[order])


def best_candidates(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[np.int64], settings: Postprocessing
) -> NDArray[np.int64]:
    """The candidates of one image that are detections.

    Args:
        boxes: [N, 4] x1, y1, x2, y2.
        scores: [N]; below 0 where there is no candidate.
        labels: [N].
        settings: how many are kept, and what overlap drops a candidate.

    Returns:
        Their places, best first.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= 0]
    if settings.iou_threshold is None:
        return order[: settings.max_detections]
    kept = np.zeros(len(scores), bool)
    for label in np.unique(labels[order]):
        of_class = order[labels[order] == label]
        kept[of_class[_suppress(boxes[of_class], settings.iou_threshold, settings.max_detections)]] = True
    return order[kept[order]][: settings.max_detections]


def _suppress(boxes: NDArray[np.float32], iou_threshold: float, most: int) -> list[int]:
    """Places of the boxes, best first, that overlap no better one that is kept by more than a threshold.

    IoUs are float32 and the threshold is float64, as in torchvision: it decides on an IoU that is the threshold.
    """
    corners = boxes.astype(np.float32)
    areas = (corners[:, 2:] - corners[:, :2]).prod(1)
    remaining = np.arange(len(boxes))
    kept: list[int] = []
    while len(remaining) and len(kept) < most:
        best, rest = remaining[0], remaining[1:]
        kept.append(int(best))
        low, high = np.maximum(corners[rest, :2], corners[best, :2]), np.minimum(corners[rest, 2:], corners[best, 2:])
        shared = np.clip(high - low, 0, None).prod(1)
        with np.errstate(invalid="ignore"):
            ious = shared / (areas[best] + areas[rest] - shared)
        remaining = rest[~(ious.astype(np.float64) > iou_threshold)]
    return kept
