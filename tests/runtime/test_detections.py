from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from PIL import Image

from brs_detr.errors import UserError
from brs_detr.runtime.detections import Detections


@pytest.fixture
def found() -> Detections:
    return Detections(
        boxes_xyxy=np.array([[1, 2, 11, 22], [5, 5, 9, 9]], np.float32),
        scores=np.array([0.75, 0.25], np.float32),
        labels=np.array([1, 0]),
        class_names=("cat", "dog"),
    )


def test_iteration(found: Detections) -> None:
    first, second = found
    assert first == ((1, 2, 11, 22), 0.75, 1, "dog")
    assert second.name == "cat"
    assert found.names == ["dog", "cat"]
    assert len(found) == 2


def test_coco_entries(found: Detections) -> None:
    assert found.to_coco(image_id=7)[0] == {
        "image_id": 7,
        "category_id": 2,
        "category_name": "dog",
        "bbox": [1, 2, 10, 20],
        "score": 0.75,
    }


def test_above_keeps_the_threshold_itself(found: Detections) -> None:
    assert found.above(0.75).names == ["dog"]
    assert found.above(0.2).names == ["dog", "cat"]
    assert list(found.above(0.9)) == []


def test_it_cannot_be_changed(found: Detections) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.scores = np.zeros(2)  # type: ignore[misc]


def test_supervision(found: Detections) -> None:
    theirs = found.to_supervision()
    np.testing.assert_array_equal(theirs.xyxy, found.boxes_xyxy)
    np.testing.assert_array_equal(theirs.confidence, found.scores)
    assert theirs.class_id.tolist() == [1, 0]
    assert theirs.data["class_name"].tolist() == ["dog", "cat"]
    assert len(found.above(0.9).to_supervision()) == 0


def test_without_supervision_it_is_named(found: Detections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match="pip install supervision"):
        found.to_supervision()


def test_drawing_leaves_the_image_alone(found: Detections) -> None:
    image = np.full((480, 480, 3), 128, np.uint8)
    drawn = found.draw(image)
    assert isinstance(drawn, Image.Image)
    assert (image == 128).all()
    assert (np.asarray(drawn) != 128).any()
    assert np.array_equal(np.asarray(found.draw(Image.fromarray(image))), np.asarray(drawn))
