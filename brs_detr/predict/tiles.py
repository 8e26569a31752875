"""Detect on large images piece by piece (supervision's slicer)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.runtime.calibration import Thresholds
from brs_detr.runtime.detections import Detections

MERGE_SHARE = 0.5
"""Boxes of a class are joined where they share more than this of the smaller one: parts of one object in two tiles."""


class TiledDetector:
    """A detector that looks at overlapping tiles of an image, each at full resolution.

    Args:
        detector: that looks at the tiles.
        tile: side of a tile in pixels.
        overlap: share of a tile that its neighbour covers as well, in [0, 1).
    """

    def __init__(self, detector: Any, tile: int, overlap: float) -> None:
        import supervision

        self.class_names: tuple[str, ...] = detector.class_names
        self.score_threshold: Thresholds = detector.score_threshold
        self.calibrated: bool = detector.calibrated
        self._slicer = supervision.InferenceSlicer(
            callback=lambda pixels: detector(np.ascontiguousarray(pixels)).to_supervision(),
            slice_wh=(tile, tile),
            overlap_wh=(round(tile * overlap),) * 2,
            overlap_filter=supervision.OverlapFilter.NON_MAX_MERGE,
            overlap_metric=supervision.OverlapMetric.IOS,
            iou_threshold=MERGE_SHARE,
        )

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Detect on each image, RGB [H, W, 3]."""
        return [self._detect(image) for image in images]

    def _detect(self, image: NDArray[np.uint8]) -> Detections:
        found: Any = self._slicer(image)
        scores = np.asarray(found.confidence if len(found) else [], np.float32)
        order = np.argsort(-scores, kind="stable")
        boxes = np.asarray(found.xyxy, np.float32).reshape(-1, 4)[order]
        labels = np.asarray(found.class_id if len(found) else [], np.int64)[order]
        return Detections(boxes, scores[order], labels, self.class_names)
