"""The gate tells an artefact that differs from a model that rounding shakes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from planted_graphs import INFO
from rich.console import Console

from brs_detr.errors import UserError
from brs_detr.export.comparison import Tolerance
from brs_detr.export.parity import require_parity
from brs_detr.export.parity_images import Picture
from brs_detr.runtime.session import Outputs

PICTURES = [Picture("small", np.zeros((20, 30, 3), np.uint8)), Picture("large", np.zeros((40, 30, 3), np.uint8))]
TOLERANCE = Tolerance(box=1e-3, score=1e-5, ap=1e-4, unmatched=0.0)


class _Heads:
    eval_head = "roi"


class Planted:
    """Finds three boxes, moved by so many pixels on pictures of each height."""

    model = _Heads()
    info = dataclasses.replace(INFO, preprocessing=dataclasses.replace(INFO.preprocessing, inside=False))

    def __init__(self, **moved: float) -> None:
        self.moved = {int(height.strip("h")): value for height, value in moved.items()}

    def run(self, images, image_sizes):
        boxes = np.array([[1, 2, 11, 12], [3, 4, 23, 24], [0, 0, 5, 5]], np.float64)
        boxes = boxes + self.moved.get(images.shape[2], 0.0)
        scores, labels = np.array([0.9, 0.5, 0.1]), np.array([0, 1, 0])
        return Outputs(*(np.stack([column] * len(images)) for column in (boxes, scores, labels)))


def compare(model: Planted, exact: Planted, artefact: Planted):
    return require_parity(model, exact, artefact, PICTURES, tolerance=TOLERANCE, console=Console(quiet=True))


def test_the_same() -> None:
    parity = compare(Planted(), Planted(), Planted(h20=5e-4))
    assert parity.summary()["matched"] == 2 * 5 * 3
    assert parity.summary()["max_box_error_px"] == pytest.approx(5e-4, rel=1e-6)
    assert parity.summary()["widest_box_tolerance_px"] == 1e-3


def test_bounds_follow_the_models_own_errors_but_not_far() -> None:
    parity = compare(Planted(), Planted(h40=2e-3), Planted(h40=3e-3))
    assert parity.summary()["widest_box_tolerance_px"] == pytest.approx(4e-3)
    assert parity.summary()["tied_pictures"] == 0
    with pytest.raises(UserError, match=r"large, batch of 1: 2 of 3 detections have no partner within 0\.004 px"):
        compare(Planted(), Planted(h40=2e-3), Planted(h40=5e-3))
    with pytest.raises(UserError, match="small, batch of 4"):
        compare(Planted(), Planted(h40=2e-3), Planted(h20=3e-3))


def test_where_rounding_decides_nothing_is_said() -> None:
    parity = compare(Planted(), Planted(h40=1.0), Planted(h40=0.5))
    assert parity.summary()["tied_pictures"] == 1
    assert parity.summary()["matched"] == 5 * 3
    with pytest.raises(UserError, match="on every picture rounding decides"):
        compare(Planted(), Planted(h20=1.0, h40=1.0), Planted(h20=0.5, h40=0.5))
