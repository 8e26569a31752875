"""What the scores of a detector mean, and which of them are worth showing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brs_detr.errors import UserError, did_you_mean
from brs_detr.runtime.score_map import ScoreMap

DEFAULT_THRESHOLD = 0.5
"""Lowest score to show where scores are probabilities: what is rather right than wrong."""

Thresholds = float | tuple[float, ...]
"""Lowest score to keep: one for all classes, or one for each."""


@dataclass(frozen=True)
class Calibration:
    """Learnt from what a detector found on images with known objects.

    Args:
        score_map: from raw scores to the share of detections that find an object of their class at IoU 0.5.
        kind: of map, see `brs_detr.analysis.fit_score_map`.
        num_images: that were learnt from.
        num_detections: of each class on them.
        thresholds: lowest score, once mapped, to keep; `DEFAULT_THRESHOLD`, or one for each class.
        goal: what the thresholds were chosen for; empty for the default.
    """

    score_map: ScoreMap
    kind: str
    num_images: int
    num_detections: tuple[int, ...]
    thresholds: Thresholds = DEFAULT_THRESHOLD
    goal: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
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
        """Read what `to_json` gave.

        Raises:
            ValueError: it is none, or one of another number of classes.
        """
        try:
            kind, goal, counts = stored["kind"], stored["goal"], stored["num_detections"]
            if not (isinstance(kind, str) and isinstance(goal, str) and isinstance(counts, (list, tuple))):
                raise ValueError("kind and goal are text, and there is a number of detections for each class")
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
            raise ValueError(f"it is not one of {num_classes} classes")
        return calibration


def read_thresholds(stored: Any, num_classes: int) -> Thresholds:
    """A number in [0, 1], or one for each class.

    Raises:
        ValueError, TypeError: it is neither.
    """
    thresholds = tuple(map(float, stored)) if isinstance(stored, (list, tuple)) else float(stored)
    numbers = thresholds if isinstance(thresholds, tuple) else (thresholds,)
    if not all(0 <= number <= 1 for number in numbers) or (numbers is thresholds and len(numbers) != num_classes):
        raise ValueError("thresholds are in [0, 1], one for all classes or one for each")
    return thresholds


def choose_thresholds(
    given: float | Mapping[str, float] | None, default: Thresholds, class_names: Sequence[str]
) -> Thresholds:
    """Lowest scores to keep.

    Args:
        given: by a user: one for all classes, or by the name of a class; the others keep the default.
        default: of the model.
        class_names: of all classes.

    Raises:
        UserError: there is no such class, or a threshold is not in [0, 1].
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
    """As users are told: the number for all classes, or one by the name of each."""
    return dict(zip(class_names, thresholds, strict=True)) if isinstance(thresholds, tuple) else thresholds
