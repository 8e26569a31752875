"""The detections that a user is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brs_detr.analysis.image_boxes import places_of_categories
from brs_detr.runtime.calibration import Thresholds
from brs_detr.runtime.score_map import ScoreMap


def shown_predictions(
    dataset: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    thresholds: Thresholds,
    score_map: ScoreMap | None = None,
) -> list[dict[str, Any]]:
    """COCO results that reach the threshold of their class, with the scores that are compared with it.

    Args:
        dataset: COCO object.
        predictions: with raw scores; those of unknown categories are left out.
        thresholds: for all classes, or in the order of the category ids.
        score_map: makes raw scores probabilities; its classes are in the same order.
    """
    place_of = places_of_categories(dataset)
    known = [entry for entry in predictions if entry["category_id"] in place_of]
    labels = np.array([place_of[entry["category_id"]] for entry in known], np.int64)
    scores = np.array([entry["score"] for entry in known], np.float64)
    if score_map is not None:
        scores = score_map(scores, labels)
    is_shown = scores >= np.broadcast_to(thresholds, len(place_of))[labels]
    return [{**known[place], "score": float(scores[place])} for place in np.flatnonzero(is_shown)]
