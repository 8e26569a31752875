from __future__ import annotations

import pytest
import torch
from torch import nn

from brs_detr.config.config import load_config
from brs_detr.reproduce.plan import REFERENCE, TrainingCost, _Kept, predicted_hours, training_cost


@pytest.fixture(scope="module")
def of_r50() -> TrainingCost:
    return training_cost(load_config(REFERENCE))


def test_parameters_are_those_of_the_official_model(of_r50: TrainingCost) -> None:
    """65,126,564 values in the official BRS-DETR R-50, buffers not counted; stem and first stage are frozen."""
    assert of_r50.num_parameters == 65_126_564
    assert 0 < of_r50.num_parameters - of_r50.num_trained < 300_000
    assert of_r50.state_bytes == 4 * of_r50.num_parameters + 12 * of_r50.num_trained


def test_operations_grow_with_images_and_pixels(of_r50: TrainingCost) -> None:
    config = load_config(REFERENCE)
    single = training_cost(config, num_images=1)
    assert of_r50.step_flops == pytest.approx(2 * single.step_flops, rel=0.01)
    assert of_r50.activation_bytes == pytest.approx(2 * single.activation_bytes, rel=0.05)
    small = training_cost(config, num_images=2, size=(400, 667))
    assert small.step_flops < 0.5 * of_r50.step_flops
    assert 2 < of_r50.step_flops / of_r50.forward_flops < 3.2


def test_hours_of_the_reference_are_those_of_the_paper(of_r50: TrainingCost) -> None:
    assert predicted_hours(of_r50, of_r50) == pytest.approx(12 * 7393 * 0.69 / 3600)


def test_what_is_kept_is_what_autograd_keeps() -> None:
    """A linear layer keeps its input, ReLU its output, and the next layer the same tensor."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    kept = _Kept(model)
    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
        model(torch.randn(5, 8))
    assert kept.num_bytes == 4 * 5 * (8 + 16)
