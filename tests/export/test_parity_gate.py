"""What the gate says of stages that are near, and of stages that are not."""

from __future__ import annotations

import math

import pytest
import torch

from brs_detr.export.comparison import Comparison
from brs_detr.export.parity import LAST_BIT, Parity, StageError, stage_error

EXACT = torch.linspace(-4, 4, 101, dtype=torch.float64)[:, None]


def error(stage: str = "decoder_logits", file: float = 1e-7, model: float = 1e-6, **more: object) -> StageError:
    return StageError(stage, "small", 4, file, model, **{"scale": 0.0, **more})  # type: ignore[arg-type]


def parity(*errors: StageError, wrong_choices: tuple[str, ...] = ()) -> Parity:
    return Parity(Comparison(), errors, wrong_choices, 3)


def test_twice_the_models_own_error_is_allowed() -> None:
    assert parity(error(file=1.9e-6)).failures() == []
    assert parity(error(file=2.1e-6)).failures() == [
        "decoder_logits on small, batch of 4: 2.1e-06 from exact arithmetic, where 2.0e-06 is allowed"
    ]


def test_the_bound_is_that_of_the_picture_on_which_the_model_is_farthest_off() -> None:
    assert parity(error(file=2.1e-6), error(model=2e-6)).failures() == []
    assert len(parity(error(file=2.1e-6), error("encoder_logits", model=2e-6)).failures()) == 1


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
    measured = stage_error("scores", "small", 1, EXACT + 3e-6, EXACT - 1e-6, EXACT)
    assert measured.file == pytest.approx(3e-6)
    assert measured.model == pytest.approx(1e-6)
    assert measured.scale == 4
    assert measured.is_finite


def test_infinite_values_have_their_places() -> None:
    exact = EXACT.clone()
    exact[:3] = math.inf
    assert stage_error("boxes", "small", 1, exact, exact, exact) == StageError("boxes", "small", 1, 0, 0, 4)
    assert not stage_error("boxes", "small", 1, EXACT, exact, exact).is_finite
    assert stage_error("boxes", "small", 1, exact, EXACT, EXACT).file == math.inf


def test_another_shape_is_a_failure() -> None:
    measured = stage_error("boxes", "small", 1, EXACT[:50], EXACT, EXACT)
    assert len(parity(measured).failures()) == 1


def test_nothing_found_is_no_error() -> None:
    nothing = torch.zeros(0, 4)
    assert stage_error("boxes", "small", 1, nothing, nothing, nothing).file == 0
