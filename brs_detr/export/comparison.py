"""Two sets of detections on one image: how many agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from brs_detr.runtime.detections import Detections


class Tolerance(NamedTuple):
    """How far two detections that agree may differ: in a coordinate, in pixels, and in their score."""

    box: float
    score: float


TOLERANCES = {
    "float32": Tolerance(0.01, 1e-4),
    "float16": Tolerance(2.0, 0.005),
    "bfloat16": Tolerance(8.0, 0.05),
}
"""By the precision of large products."""

UNRELATED = 1e9  # cost of a pair of different classes


@dataclass(frozen=True)
class Comparison:
    """The detections of an artefact beside those of the model, on one image or several.

    Args:
        num_detections: of the model.
        num_matched: pairs within the tolerance.
        num_unmatched: other detections, of either side, without a partner.
        max_box_error: of the matched pairs, in pixels.
        max_score_error: of the matched pairs.
    """

    num_detections: int = 0
    num_matched: int = 0
    num_unmatched: int = 0
    max_box_error: float = 0.0
    max_score_error: float = 0.0

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            self.num_detections + other.num_detections,
            self.num_matched + other.num_matched,
            self.num_unmatched + other.num_unmatched,
            max(self.max_box_error, other.max_box_error),
            max(self.max_score_error, other.max_score_error),
        )


def compare(reference: Detections, found: Detections, tolerance: Tolerance) -> Comparison:
    """Pair the detections of two sides one to one, so that pairs are as close as they can be.

    Args:
        reference: what the model finds, of any score.
        found: what the artefact finds.
        tolerance: what a pair may differ by.
    """
    box_errors = np.abs(reference.boxes_xyxy[:, None] - found.boxes_xyxy[None]).max(-1, initial=0)  # [D, E]
    score_errors = np.abs(reference.scores[:, None] - found.scores[None])
    is_related = reference.labels[:, None] == found.labels[None]
    cost = np.where(is_related, np.minimum(box_errors / tolerance.box + score_errors / tolerance.score, 1e6), UNRELATED)
    rows, columns = linear_sum_assignment(cost)
    errors = box_errors[rows, columns], score_errors[rows, columns]
    is_matched = is_related[rows, columns] & (errors[0] <= tolerance.box) & (errors[1] <= tolerance.score)
    num_matched = int(is_matched.sum())
    return Comparison(
        num_detections=len(reference),
        num_matched=num_matched,
        num_unmatched=len(reference) + len(found) - 2 * num_matched,
        max_box_error=float(errors[0][is_matched].max(initial=0)),
        max_score_error=float(errors[1][is_matched].max(initial=0)),
    )
