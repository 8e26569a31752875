"""A detector that finds a cat at (10, 20) to (30, 50) and, less surely, a dog on every image."""

from __future__ import annotations

import numpy as np

from brs_detr.runtime.detections import Detections


class PlantedDetector:
    class_names = ("cat", "a/dog")
    score_threshold: float | tuple[float, ...] = 0.2
    calibrated = False

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images):
        if not isinstance(images, list):
            return self.find(images)
        self.batches.append(len(images))
        return [self.find(image) for image in images]

    def find(self, image: np.ndarray) -> Detections:
        assert image.dtype == np.uint8
        boxes = np.array([[10, 20, 30, 50], [0, 0, 8, 8]], np.float32)
        return Detections(boxes, np.array([0.9, 0.3], np.float32), np.array([0, 1]), self.class_names)
