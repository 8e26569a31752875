"""From what a detector scores to how often such a detection is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGEST = 1 - 2.0**-25
"""A score that float32 rounds to 1."""
SMALLEST = 1e-45
"""The least above 0 in float32."""


@dataclass(frozen=True)
class ScoreMap:
    """A strictly increasing map of logits for each class: straight between knots, and on beyond the outer two.

    Args:
        knots: [C, K] logits of scores, ascending in each row; K is 2 or more.
        values: [C, K] logits of probabilities, likewise.

    Raises:
        ValueError: they are of other shapes, not finite, or do not ascend.
    """

    knots: NDArray[np.float64]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = self.knots.shape
        if len(shape) != 2 or shape[1] < 2 or self.values.shape != shape:
            raise ValueError(f"a map has as many values as knots, at least 2 a class: {shape}, {self.values.shape}")
        rows = np.stack([self.knots, self.values])
        if not np.isfinite(rows).all() or (np.diff(rows) <= 0).any():
            raise ValueError("knots and values of a map ascend")

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
        """Probabilities of scores [N] in [0, 1] of classes [N]."""
        logits = logit(scores)
        slopes = self.slopes
        mapped = self.offsets[labels] + slopes[labels, 0] * logits
        for place, change in enumerate(np.diff(slopes).T, start=1):
            mapped += change[labels] * np.maximum(logits - self.knots[labels, place], 0)
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
        return cls(np.array(stored["knots"], np.float64), np.array(stored["values"], np.float64))


def logit(scores: NDArray[Any]) -> NDArray[np.float64]:
    """``log(score / (1 - score))``; finite for 0 and 1, too."""
    clipped = np.clip(np.asarray(scores, np.float64), SMALLEST, LARGEST)
    logits: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return logits
