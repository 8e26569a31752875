"""Maps from the scores of a detector to the probability that a detection is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGEST = 1 - 2.0**-25
"""Largest score; float32 rounds it to 1."""
SMALLEST = 2.0**-126
"""Smallest score: the smallest normal float32."""
MOST_KNOTS = 64
"""Limit for the knots per class in a file, since each takes time for every detection."""


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """A strictly increasing, piecewise linear map of logits per class; the outer segments continue beyond the knots.

    Args:
        knots: [C, K] logits of scores, ascending in each row; K is at least 2.
        values: [C, K] logits of probabilities, ascending in each row.

    Raises:
        ValueError: the shapes are wrong, or the numbers are not finite or not ascending in float32.
    """

    knots: NDArray[np.float64]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = self.knots.shape
        if len(shape) != 2 or shape[1] < 2 or self.values.shape != shape:
            raise ValueError(
                f"knots and values must have one shape, at least 2 per class: {shape}, {self.values.shape}"
            )
        with np.errstate(all="ignore"):
            numbers = np.concatenate([self.knots, self.values, self.slopes], 1).astype(np.float32)
            is_rising = (np.diff(self.knots) > 0) & (self.slopes.astype(np.float32) > 0)
        if not np.isfinite(numbers).all() or not is_rising.all():
            raise ValueError("knots and values must be finite and ascending")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScoreMap):
            return NotImplemented
        return np.array_equal(self.knots, other.knots) and np.array_equal(self.values, other.values)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def lines(cls, slopes: ArrayLike, offsets: ArrayLike) -> ScoreMap:
        """Make the map ``slope * logit + offset`` per class; slopes are above 0."""
        slope, offset = np.array(slopes, np.float64), np.array(offsets, np.float64)
        return cls(np.tile([0.0, 1.0], (len(slope), 1)), np.stack([offset, slope + offset], 1))

    @property
    def is_affine(self) -> bool:
        """Whether the map is one line per class."""
        return self.knots.shape[1] == 2

    @property
    def slopes(self) -> NDArray[np.float64]:
        """Slopes [C, K - 1] between knots."""
        slopes: NDArray[np.float64] = np.diff(self.values) / np.diff(self.knots)
        return slopes

    @property
    def offsets(self) -> NDArray[np.float64]:
        """Values [C] at 0 of the first segments, extended."""
        offsets: NDArray[np.float64] = self.values[:, 0] - self.slopes[:, 0] * self.knots[:, 0]
        return offsets

    def __call__(self, scores: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Map scores [N] in [0, 1] of detections with labels [N] to probabilities.

        The rises of all segments below a logit are summed, so that rounding never swaps two scores.
        """
        logits, lengths, slopes = logit(scores), np.diff(self.knots), self.slopes
        mapped, last = self.values[labels, 0], slopes.shape[1] - 1
        for segment in range(last + 1):
            length = logits - self.knots[labels, segment]
            if segment > 0:
                length = np.maximum(length, 0)
            if segment < last:
                length = np.minimum(length, lengths[labels, segment])
            mapped = mapped + slopes[labels, segment] * length
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-mapped))

    def to_json(self) -> dict[str, Any]:
        """Convert to plain lists."""
        return {"knots": self.knots.tolist(), "values": self.values.tolist()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ScoreMap:
        """Read the output of `to_json`.

        Raises:
            ValueError, KeyError, TypeError: it is damaged.
        """
        return cls(_table(stored["knots"]), _table(stored["values"]))


def _table(rows: Any) -> NDArray[np.float64]:
    """Convert rows of numbers to an array. Nested lists are refused, since a small file can nest very many."""
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) > MOST_KNOTS:
            raise ValueError(f"knots and values must be lists of at most {MOST_KNOTS} numbers per class")
        if not all(isinstance(number, (int, float)) for number in row):
            raise ValueError("knots and values must be numbers")
    return np.array(rows, np.float64)


def logit(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``log(score / (1 - score))``; scores of 0 and 1 are clipped so that it is finite."""
    clipped = np.clip(np.asarray(scores, np.float64), SMALLEST, LARGEST)
    logits: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return logits
