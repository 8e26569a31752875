"""Two sets of detections on one image: how far apart they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from brs_detr.runtime.detections import Detections

UNRELATED = 1e9  # cost of a pair of different classes


@dataclass(frozen=True)
class Tolerance:
    """How far a detection of an artefact may be from the model's.

    Args:
        box: difference of a coordinate, in pixels of the image.
        score: difference of a score.
        ap: difference of AP on a data set.
        unmatched: how many detections, of both sides together, may have no partner within the two bounds above, as a
            share of the model's. A box at the border of the image can amplify a rounding error a thousand times.
    """

    box: float
    score: float
    ap: float
    unmatched: float


@dataclass(frozen=True)
class Comparison:
    """The detections of an artefact beside those of the model, on one image or several.

    Args:
        num_detections: of the model.
        num_matched: pairs within the tolerance.
        num_at_edge: detections without a partner whose score is that of the last one that was kept, to within the
            tolerance: which of those is kept is a matter of rounding.
        num_unmatched: other detections, of either side, without a partner.
        max_box_error: of the matched pairs, in pixels.
        max_score_error: of the matched pairs.
    """

    num_detections: int = 0
    num_matched: int = 0
    num_at_edge: int = 0
    num_unmatched: int = 0
    max_box_error: float = 0.0
    max_score_error: float = 0.0

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            self.num_detections + other.num_detections,
            self.num_matched + other.num_matched,
            self.num_at_edge + other.num_at_edge,
            self.num_unmatched + other.num_unmatched,
            max(self.max_box_error, other.max_box_error),
            max(self.max_score_error, other.max_score_error),
        )

    def is_within(self, tolerance: Tolerance) -> bool:
        """Whether few enough detections are without a partner."""
        return self.num_unmatched <= tolerance.unmatched * self.num_detections


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
    rows, columns = rows[is_matched], columns[is_matched]
    left_over = np.concatenate([np.delete(reference.scores, rows), np.delete(found.scores, columns)])
    at_edge = 0
    if len(reference) == len(found) > 0:  # otherwise it was not their number that ended them
        last = max(reference.scores.min(), found.scores.min())
        at_edge = int((np.abs(left_over - last) <= tolerance.score).sum())
    return Comparison(
        num_detections=len(reference),
        num_matched=len(rows),
        num_at_edge=at_edge,
        num_unmatched=len(left_over) - at_edge,
        max_box_error=float(errors[0][is_matched].max(initial=0)),
        max_score_error=float(errors[1][is_matched].max(initial=0)),
    )
