"""From what a detector scores to how often such a detection is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGEST = 1 - 2.0**-25
"""A score that float32 rounds to 1."""
SMALLEST = 2.0**-126
"""The least in float32 that has all its digits."""
MOST_KNOTS = 64
"""Of a class, in a file: each of them takes time with every detection."""


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """A strictly increasing map of logits for each class: straight between knots, and on beyond the outer two.

    Args:
        knots: [C, K] logits of scores, ascending in each row; K is 2 or more.
        values: [C, K] logits of probabilities, likewise.

    Raises:
        ValueError: they are of other shapes, not finite, or do not ascend, as float32 can tell.
    """

    knots: NDArray[np.float64]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = self.knots.shape
        if len(shape) != 2 or shape[1] < 2 or self.values.shape != shape:
            raise ValueError(f"a map has as many values as knots, at least 2 a class: {shape}, {self.values.shape}")
        with np.errstate(all="ignore"):
            numbers = np.concatenate([self.knots, self.values, self.slopes], 1).astype(np.float32)
            is_rising = (np.diff(self.knots) > 0) & (self.slopes.astype(np.float32) > 0)
        if not np.isfinite(numbers).all() or not is_rising.all():
            raise ValueError("knots and values of a map ascend")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScoreMap):
            return NotImplemented
        return np.array_equal(self.knots, other.knots) and np.array_equal(self.values, other.values)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def lines(cls, slopes: ArrayLike, offsets: ArrayLike) -> ScoreMap:
        """``slope * logit + offset`` for each class; slopes are above 0."""
        slope, offset = np.array(slopes, np.float64), np.array(offsets, np.float64)
        return cls(np.tile([0.0, 1.0], (len(slope), 1)), np.stack([offset, slope + offset], 1))

    @property
    def is_affine(self) -> bool:
        """Whether it is one line for each class."""
        return self.knots.shape[1] == 2

    @property
    def slopes(self) -> NDArray[np.float64]:
        """[C, K - 1], between knots."""
        slopes: NDArray[np.float64] = np.diff(self.values) / np.diff(self.knots)
        return slopes

    @property
    def offsets(self) -> NDArray[np.float64]:
        """[C] values at 0 of the lines that the first segments lie on."""
        offsets: NDArray[np.float64] = self.values[:, 0] - self.slopes[:, 0] * self.knots[:, 0]
        return offsets

    def __call__(self, scores: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Probabilities of scores [N] in [0, 1] of classes [N].

        Each segment adds what it rises by below a logit, so that rounding never turns two scores round.
        """
        logits, lengths, slopes = logit(scores), np.diff(self.knots), self.slopes
        mapped, last = self.values[labels, 0], slopes.shape[1] - 1
        for place in range(last + 1):
            length = logits - self.knots[labels, place]
            if place > 0:
                length = np.maximum(length, 0)
            if place < last:
                length = np.minimum(length, lengths[labels, place])
            mapped = mapped + slopes[labels, place] * length
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-mapped))

    def to_json(self) -> dict[str, Any]:
        """As plain lists."""
        return {"knots": self.knots.tolist(), "values": self.values.tolist()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ScoreMap:
        """Read what `to_json` gave.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        return cls(_table(stored["knots"]), _table(stored["values"]))


def _table(rows: Any) -> NDArray[np.float64]:
    """Rows of numbers. Lists within lists, which a small file can hold any number of, are never unfolded."""
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) > MOST_KNOTS:
            raise ValueError(f"knots and values are lists of at most {MOST_KNOTS} numbers for each class")
        if not all(isinstance(number, (int, float)) for number in row):
            raise ValueError("knots and values are numbers")
    return np.array(rows, np.float64)


def logit(scores: NDArray[Any]) -> NDArray[np.float64]:
    """``log(score / (1 - score))``; finite for 0 and 1, too."""
    clipped = np.clip(np.asarray(scores, np.float64), SMALLEST, LARGEST)
    logits: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return logits
