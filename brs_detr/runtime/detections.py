"""The detections in an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brs_detr.errors import UserError

if TYPE_CHECKING:
    from PIL import Image


class Detection(NamedTuple):
    """One object: its box (x1, y1, x2, y2) in pixels, score in [0, 1], label and class name."""

    box_xyxy: tuple[float, float, float, float]
    score: float
    label: int
    name: str


@dataclass(frozen=True)
class Detections:
    """The objects found in one image, best first. Iterate over it for one `Detection` at a time.

    Args:
        boxes_xyxy: [N, 4] corners (x1, y1, x2, y2) in pixels of the image.
        scores: [N] in [0, 1].
        labels: [N] indices into `class_names`.
        class_names: names of all classes that the detector knows.
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        columns = self.boxes_xyxy.tolist(), self.scores.tolist(), self.labels.tolist(), self.names
        for box, score, label, name in zip(*columns, strict=True):
            yield Detection(tuple(box), score, label, name)

    @property
    def names(self) -> list[str]:
        """Class name of each object."""
        return [self.class_names[label] for label in self.labels]

    def above(self, score: float | Sequence[float]) -> Detections:
        """Keep the objects that score at least `score`: one number, or one per class."""
        lowest = np.asarray(score)
        return self.select(self.scores >= (lowest[self.labels] if lowest.ndim else lowest))

    def select(self, is_kept: NDArray[np.bool_]) -> Detections:
        """Keep the objects where a mask [N] is true."""
        return Detections(self.boxes_xyxy[is_kept], self.scores[is_kept], self.labels[is_kept], self.class_names)

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """Convert to COCO results: `bbox` is (x, y, w, h) in pixels, `category_id` is the label plus 1."""
        return [
            {
                "image_id": image_id,
                "category_id": label + 1,
                "category_name": name,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            for (x1, y1, x2, y2), score, label, name in self
        ]

    def to_supervision(self) -> Any:
        """Convert to `supervision.Detections`, for its annotators, trackers and counters.

        Raises:
            UserError: the package `supervision` is not installed.
        """
        try:
            import supervision
        except ImportError:
            raise UserError("This needs the package supervision.", "pip install supervision") from None
        return supervision.Detections(
            xyxy=self.boxes_xyxy.astype(np.float32).reshape(-1, 4),
            confidence=self.scores.astype(np.float32),
            class_id=self.labels.astype(int),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def draw(self, image: Image.Image | NDArray[np.uint8]) -> Image.Image:
        """Draw the boxes on a copy of the image, which is a PIL image or an RGB array [H, W, 3]."""
        from brs_detr.runtime.draw import draw_detections

        return draw_detections(image, self.boxes_xyxy, self.labels, self.scores, class_names=self.class_names)
