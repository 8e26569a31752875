from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import brs_detr
from brs_detr.errors import UserError
from brs_detr.evaluation.evaluate import evaluate
from brs_detr.predict.detector import Detector, TiledDetector
from brs_detr.runtime.detections import Detections
from brs_detr.training.train import TrainedRun


@pytest.fixture(scope="module")
def detector(trained: TrainedRun) -> Detector:
    return Detector(trained.best_checkpoint, device="cpu", score_threshold=0.0)


@pytest.fixture(scope="module")
def image_file(shapes: Path) -> Path:
    return shapes / "val" / "000001.jpg"


def assert_same(first: Detections, second: Detections) -> None:
    np.testing.assert_array_equal(first.boxes_xyxy, second.boxes_xyxy)
    np.testing.assert_array_equal(first.scores, second.scores)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_path_image_and_array_give_the_same(detector: Detector, image_file: Path) -> None:
    found = detector(image_file)
    assert len(found) > 0
    with Image.open(image_file) as image:
        assert_same(found, detector(image))
        assert_same(found, detector(np.asarray(image)))
    assert_same(found, detector(str(image_file)))


def test_channels_are_in_the_order_of_the_training(detector: Detector, image_file: Path) -> None:
    with Image.open(image_file) as image:
        swapped = np.asarray(image)[..., ::-1]
    assert not np.array_equal(detector(image_file).scores, detector(swapped).scores)


def test_list_gives_a_list(detector: Detector, image_file: Path) -> None:
    found = detector([image_file, image_file])
    assert isinstance(found, list)
    assert_same(found[0], found[1])
    assert detector([]) == []


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_batches_give_what_single_images_give(trained: TrainedRun, shapes: Path, batch_size: int) -> None:
    paths = sorted((shapes / "val").glob("*.jpg"))
    wide = np.asarray(Image.open(paths[0]))[:40]
    images = [*paths[:2], wide, *paths[2:]]
    batched = Detector(trained.best_checkpoint, "cpu", 0.0, batch_size)
    for one, found in zip(images, batched(images), strict=True):
        expected = batched(one)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4)
        np.testing.assert_allclose(found.boxes_xyxy[:3], expected.boxes_xyxy[:3], atol=1e-2)


def test_an_image_that_is_a_line(detector: Detector) -> None:
    """It is never resized to zero pixels."""
    found = detector(np.zeros((1, 10000, 3), np.uint8))
    assert len(found) and np.isfinite(found.boxes_xyxy).all()


def test_same_boxes_as_in_an_evaluation(detector: Detector, trained: TrainedRun, shapes: Path) -> None:
    evaluation = evaluate(trained.best_checkpoint, shapes, "val", device="cpu")
    expected = sorted(
        (entry for entry in evaluation.predictions if entry["image_id"] == 2), key=lambda entry: -entry["score"]
    )
    found = detector(shapes / "val" / "000002.jpg")
    np.testing.assert_allclose(found.scores, [entry["score"] for entry in expected], rtol=1e-4)
    boxes_xywh = np.array([entry["bbox"] for entry in found.to_coco(2)])
    np.testing.assert_allclose(boxes_xywh, [entry["bbox"] for entry in expected], atol=1e-2)


def test_boxes_are_in_pixels_of_the_image_given(detector: Detector, image_file: Path) -> None:
    small = detector(image_file)
    with Image.open(image_file) as image:
        large = detector(image.resize((640, 640), Image.Resampling.NEAREST))
    assert small.boxes_xyxy.max() <= 64
    assert 64 < large.boxes_xyxy.max() <= 640


def test_threshold_of_raw_scores_comes_from_the_validation_data(trained: TrainedRun) -> None:
    metrics = torch.load(trained.best_checkpoint, weights_only=True)["meta"]["metrics"]
    detector = Detector(trained.best_checkpoint, device="cpu", raw_scores=True)
    assert detector.score_threshold == metrics["coco/F1_threshold"]


def test_threshold(trained: TrainedRun, detector: Detector, image_file: Path) -> None:
    everything = detector(image_file)
    middle = float(np.median(everything.scores))
    found = Detector(trained.best_checkpoint, device="cpu", score_threshold=middle)(image_file)
    assert 0 < len(found) < len(everything)
    assert (found.scores >= middle).all()
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_images_of_other_modes(detector: Detector, image_file: Path, mode: str) -> None:
    with Image.open(image_file) as image:
        assert len(detector(image.convert(mode))) > 0


@pytest.mark.parametrize(
    "array", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)]
)
def test_array_of_another_kind(detector: Detector, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\] in RGB"):
        detector(array)


def test_unreadable_file_is_named(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"bad\.jpg"):
        detector(tmp_path / "bad.jpg")


def test_it_is_the_detector_of_the_package() -> None:
    assert brs_detr.Detector is Detector
    assert brs_detr.Detections is Detections


class BrightSpots:
    """Finds the bounding box of white pixels, if there are any."""

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
    image[120:160, 180:220] = 255  # cut by a tile, whole in the next
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
