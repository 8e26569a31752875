"""The gate accepts stages that are close, and rejects others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from brs_detr.exporting.comparison_images import synthetic_images
from brs_detr.exporting.parity import (
    LAST_BIT,
    TIMES_FOR_SMALL,
    TIMES_OWN_ERROR,
    Comparison,
    Parity,
    StageError,
    Tolerance,
    compare,
    stage_error,
)
from brs_detr.runtime.detections import Detections

SHAPES, SPECK = synthetic_images(((64, 64), (8, 64)))
EXACT = torch.linspace(-4, 4, 101, dtype=torch.float64)[:, None]


def error(stage: str = "decoder_logits", file: float = 1e-7, model: float = 1e-6, **more: object) -> StageError:
    return StageError(stage, "shapes", 4, file, model, **{"scale": 0.0, **more})  # type: ignore[arg-type]


def parity(*errors: StageError, wrong_choices: tuple[str, ...] = ()) -> Parity:
    return Parity(Comparison(), errors, wrong_choices, 3)


def test_twice_the_models_own_error_is_allowed() -> None:
    assert parity(error(file=1.9e-6)).failures() == []
    assert parity(error(file=2.1e-6)).failures() == [
        "decoder_logits on shapes, batch of 4: 2.1e-06 from exact arithmetic, where 2.0e-06 is allowed"
    ]


def test_the_bound_is_that_of_the_image_on_which_the_model_is_farthest_off() -> None:
    assert parity(error(file=2.1e-6), error(model=2e-6)).failures() == []
    assert len(parity(error(file=2.1e-6), error("encoder_logits", model=2e-6)).failures()) == 1


def test_small_images_have_a_bound_of_their_own() -> None:
    """It is larger, also for errors of the model on other images, and does not apply to those."""
    on_small = error(model=1e-4, is_small=True)
    allowed = TIMES_FOR_SMALL * TIMES_OWN_ERROR
    assert parity(error(model=1e-5), error(file=0.9 * allowed * 1e-5, model=0.0, is_small=True)).failures() == []
    assert parity(error(), error(file=0.9 * allowed * 1e-4, model=1e-4, is_small=True)).failures() == []
    assert len(parity(error(), error(file=1.1 * allowed * 1e-4, model=1e-4, is_small=True)).failures()) == 1
    assert len(parity(error(file=2.1e-6), on_small).failures()) == 1
    assert parity(error(), on_small).summary()["stages"] == 1


def test_the_last_bit_of_the_largest_value_is_allowed() -> None:
    assert parity(error("boxes", file=0.9 * LAST_BIT * 640, model=0.0, scale=640.0)).failures() == []
    assert len(parity(error("boxes", file=1.1 * LAST_BIT * 640, model=0.0, scale=640.0)).failures()) == 1
    assert parity(error("scores", file=0.9 * LAST_BIT, model=0.0, scale=0.01)).failures() == []


@pytest.mark.parametrize("file", [math.nan, math.inf])
def test_no_number_is_near(file: float) -> None:
    assert len(parity(error(file=file)).failures()) == 1


def test_one_line_a_stage_and_every_wrong_choice() -> None:
    found = parity(error(file=1), error(file=2), error("boxes", is_finite=False), wrong_choices=("queries: wrong",))
    assert [line.split(" on ")[0] for line in found.failures()] == ["decoder_logits", "boxes", "queries: wrong"]
    assert found.shares()["decoder_logits"] == pytest.approx(1e6)


def test_errors_are_measured_from_float64() -> None:
    measured = stage_error("scores", SHAPES, 1, EXACT + 3e-6, EXACT - 1e-6, EXACT)
    assert measured.file == pytest.approx(3e-6)
    assert measured.model == pytest.approx(1e-6)
    assert measured.scale == 4
    assert measured.is_finite
    assert not measured.is_small
    assert stage_error("scores", SPECK, 1, EXACT, EXACT, EXACT).is_small


def test_infinite_values_have_their_places() -> None:
    exact = EXACT.clone()
    exact[:3] = math.inf
    assert stage_error("boxes", SHAPES, 1, exact, exact, exact) == StageError("boxes", "64 x 64", 1, 0, 0, 4)
    assert not stage_error("boxes", SHAPES, 1, EXACT, exact, exact).is_finite
    assert stage_error("boxes", SHAPES, 1, exact, EXACT, EXACT).file == math.inf


def test_another_shape_is_a_failure() -> None:
    measured = stage_error("boxes", SHAPES, 1, EXACT[:50], EXACT, EXACT)
    assert len(parity(measured).failures()) == 1


def test_nothing_found_is_no_error() -> None:
    nothing = torch.zeros(0, 4)
    assert stage_error("boxes", SHAPES, 1, nothing, nothing, nothing).file == 0


TOLERANCE = Tolerance(box=1e-3, score=1e-5)


def detections(seed: int = 0, number: int = 20) -> Detections:
    random = np.random.default_rng(seed)
    scores = np.sort(random.uniform(0.1, 1, number))[::-1].astype(np.float32)
    boxes = random.uniform(0, 500, (number, 4)).astype(np.float32)
    return Detections(boxes, scores, random.integers(0, 3, number), ("a", "b", "c"))


def changed(found: Detections, **columns: np.ndarray) -> Detections:
    return Detections(**{**vars(found), **columns})


def test_the_same_in_another_order() -> None:
    found = detections()
    order = np.random.default_rng(1).permutation(20)
    shuffled = Detections(found.boxes_xyxy[order], found.scores[order], found.labels[order], found.class_names)
    assert compare(found, shuffled, TOLERANCE) == Comparison(20, 20, 0, 0.0, 0.0)


def test_errors_are_measured() -> None:
    found = detections()
    boxes, scores = found.boxes_xyxy.copy(), found.scores.copy()
    boxes[3, 2] += 5e-4
    scores[7] += 5e-6
    measured = compare(found, changed(found, boxes_xyxy=boxes, scores=scores), TOLERANCE)
    assert measured.num_matched == 20
    assert measured.max_box_error == pytest.approx(5e-4, abs=4e-5)  # float32 at 500 px
    assert measured.max_score_error == pytest.approx(5e-6, rel=0.1)


@pytest.mark.parametrize("column", ["boxes_xyxy", "scores", "labels"])
def test_one_that_is_too_far_off_is_missed_on_both_sides(column: str) -> None:
    found = detections()
    values = getattr(found, column).copy()
    values[3] = (values[3] + 1) % 3 if column == "labels" else values[3] + 0.01
    measured = compare(found, changed(found, **{column: values}), TOLERANCE)
    assert (measured.num_matched, measured.num_unmatched) == (19, 2)
    assert measured.max_box_error == measured.max_score_error == 0


def test_nothing_found_where_something_is() -> None:
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("a",))
    assert compare(nothing, nothing, TOLERANCE) == Comparison()
    for sides in ((detections(), nothing), (nothing, detections())):
        assert compare(*sides, TOLERANCE).num_unmatched == 20


def test_sums() -> None:
    assert Comparison(5, 4, 1, 0.1, 0.2) + Comparison(5, 5, 0, 0.3, 0.1) == Comparison(10, 9, 1, 0.3, 0.2)
