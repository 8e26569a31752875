from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from served import InThread, PlantedDetector, picture

from brs_detr.predict.detector import Detector
from brs_detr.serve.limits import Limits
from brs_detr.serve.served_model import ServedModel
from brs_detr.serve.uploads import Upload
from brs_detr.training.train import TrainedRun


def detect(model: ServedModel, upload: Upload, threshold: float) -> dict[str, Any]:
    """In a thread of its own: the browser tests leave an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(
            lambda: asyncio.run(model.detect(upload, threshold, Limits(max_pixels=10_000)))[0]
        ).result()


def test_the_same_objects_as_the_detector_finds(trained: TrainedRun, shapes: Path) -> None:
    detector = Detector(trained.best_checkpoint, "cpu")
    buffer = io.BytesIO()
    with Image.open(shapes / "val" / "000001.jpg") as file:
        file.convert("RGB").save(buffer, "PNG")
    upload = Upload("a.png", buffer.getvalue())
    everything = Detector(trained.best_checkpoint, "cpu", 0.0)(Image.open(io.BytesIO(upload.content)))
    middle = float(sorted(everything.scores)[len(everything) // 2])
    model = ServedModel(InThread(detector), "tiny")
    assert model.threshold != 0.0
    for threshold in (0.0, middle, 1.0):
        answer = detect(model, upload, threshold)
        wanted = everything.above(threshold)
        assert len(wanted) or threshold == 1.0
        assert [found["score"] for found in answer["objects"]] == wanted.scores.tolist()
        assert [found["box_xyxy"] for found in answer["objects"]] == wanted.boxes_xyxy.tolist()
        assert [found["label"] for found in answer["objects"]] == wanted.labels.tolist()


def test_the_threshold_is_the_detectors_unless_given() -> None:
    detector = PlantedDetector(score_threshold=0.37)
    assert ServedModel(InThread(detector), "m").threshold == 0.37
    assert ServedModel(InThread(PlantedDetector()), "m", 0.2).threshold == 0.2
    assert ServedModel(InThread(PlantedDetector()), "m", 0.0).threshold == 0.0
    assert detector.score_threshold == 0.0  # the page filters what is above it


@pytest.mark.parametrize("threshold, num_objects", [(0.0, 4), (0.3, 3), (0.95, 0)])
def test_a_threshold_below_the_detectors_own(threshold: float, num_objects: int) -> None:
    model = ServedModel(InThread(PlantedDetector(score_threshold=0.5)), "m")
    answer = detect(model, Upload("a", picture()), threshold)
    assert len(answer["objects"]) == num_objects
