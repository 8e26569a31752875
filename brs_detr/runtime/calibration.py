"""Calibrations, which map scores to probabilities, and score thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brs_detr.errors import UserError, did_you_mean
from brs_detr.runtime.score_map import ScoreMap

DEFAULT_THRESHOLD = 0.5
"""Default threshold for probabilities: detections that are more likely right than wrong."""

Thresholds = float | tuple[float, ...]
"""Lowest score to keep, for all classes or per class."""


@dataclass(frozen=True)
class Calibration:
    """A score map fitted to the detections on annotated images, with thresholds for the mapped scores.

    Args:
        score_map: map from raw scores to the probability that a detection finds an object of its class at IoU 0.5.
        kind: kind of map, see `brs_detr.analysis.fit_score_map`.
        num_images: number of images that it was fitted to.
        num_detections: number of detections on these images, per class.
        thresholds: lowest mapped score to keep: `DEFAULT_THRESHOLD`, or one per class.
        goal: the goal that the thresholds were chosen for; empty for the default.
    """

    score_map: ScoreMap
    kind: str
    num_images: int
    num_detections: tuple[int, ...]
    thresholds: Thresholds = DEFAULT_THRESHOLD
    goal: str = ""

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
        return {
            "score_map": self.score_map.to_json(),
            "kind": self.kind,
            "num_images": self.num_images,
            "num_detections": list(self.num_detections),
            "thresholds": list(self.thresholds) if isinstance(self.thresholds, tuple) else self.thresholds,
            "goal": self.goal,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], num_classes: int) -> Calibration:
        """Read the output of `to_json`.

        Raises:
            ValueError: it is damaged, or has another number of classes.
        """
        try:
            kind, goal, counts = stored["kind"], stored["goal"], stored["num_detections"]
            if not (isinstance(kind, str) and isinstance(goal, str) and isinstance(counts, (list, tuple))):
                raise ValueError("kind and goal must be text, and num_detections a list")
            calibration = cls(
                ScoreMap.from_json(stored["score_map"]),
                kind,
                int(stored["num_images"]),
                tuple(map(int, counts)),
                read_thresholds(stored["thresholds"], num_classes),
                goal,
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        if {len(calibration.score_map.knots), len(calibration.num_detections)} != {num_classes}:
            raise ValueError(f"it is not for {num_classes} classes")
        return calibration


def read_thresholds(stored: Any, num_classes: int) -> Thresholds:
    """Read a stored threshold, or a list of one per class.

    Raises:
        ValueError, TypeError: it is neither, or not in [0, 1].
    """
    thresholds = tuple(map(float, stored)) if isinstance(stored, (list, tuple)) else float(stored)
    numbers = thresholds if isinstance(thresholds, tuple) else (thresholds,)
    if not all(0 <= number <= 1 for number in numbers) or (numbers is thresholds and len(numbers) != num_classes):
        raise ValueError("thresholds must be in [0, 1], one for all classes or one per class")
    return thresholds


def choose_thresholds(
    given: float | Mapping[str, float] | None, default: Thresholds, class_names: Sequence[str]
) -> Thresholds:
    """Return the lowest scores to keep.

    Args:
        given: the user's choice: a number for all classes, or numbers by class name; other classes keep the default.
        default: thresholds of the model.
        class_names: class names by label.

    Raises:
        UserError: a class is unknown, or a threshold is not in [0, 1].
    """
    if given is None:
        return default
    numbers = dict(given) if isinstance(given, Mapping) else {"": given}
    for name, number in numbers.items():
        if isinstance(given, Mapping) and name not in class_names:
            raise UserError(f"score_threshold: the model knows no class {name!r}.", did_you_mean(name, class_names))
        if not 0 <= number <= 1:
            raise UserError(f"score_threshold: {number}{name and f' of {name!r}'} is not in [0, 1].")
    if not isinstance(given, Mapping):
        return float(given)
    defaults = default if isinstance(default, tuple) else [default] * len(class_names)
    return tuple(float(given.get(name, number)) for name, number in zip(class_names, defaults, strict=True))


def by_name(thresholds: Thresholds, class_names: Sequence[str]) -> float | dict[str, float]:
    """Return thresholds as users see them: one number, or a dictionary by class name."""
    return dict(zip(class_names, thresholds, strict=True)) if isinstance(thresholds, tuple) else thresholds
