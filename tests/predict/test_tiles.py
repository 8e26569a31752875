from __future__ import annotations

import numpy as np

from brs_detr.predict.tiles import TiledDetector
from brs_detr.runtime.detections import Detections


class BrightSpots:
    """Finds the bounding box of what is white, if it is seen."""

    class_names = ("spot",)
    score_threshold = 0.5
    calibrated = True

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, image: np.ndarray) -> Detections:
        self.sizes.append(image.shape)
        rows, columns = np.nonzero(image[..., 0] > 128)
        if not len(rows):
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("spot",))
        box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
        area = (box[0, 2] - box[0, 0]) * (box[0, 3] - box[0, 1])
        return Detections(box, np.array([area / 10_000], np.float32), np.array([0]), ("spot",))


def test_an_object_in_two_tiles_is_found_once() -> None:
    image = np.zeros((300, 500, 3), np.uint8)
    image[120:160, 180:220] = 255  # cut by the border of a tile, whole in the next
    image[250:270, 450:470] = 255
    detector = BrightSpots()
    (found,) = TiledDetector(detector, 200, 0.4)([image])
    assert len(detector.sizes) > 6
    assert found.boxes_xyxy.tolist() == [[180, 120, 220, 160], [450, 250, 470, 270]]
    assert found.names == ["spot", "spot"]
    assert (np.diff(found.scores) <= 0).all()


def test_nothing_anywhere() -> None:
    (found,) = TiledDetector(BrightSpots(), 100, 0.2)([np.zeros((150, 150, 3), np.uint8)])
    assert len(found) == 0
