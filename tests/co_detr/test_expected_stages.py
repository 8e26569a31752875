"""Every stage of an exportable head is that of the model, and whatever it chose is judged by its own candidates."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tiny_models import build
from torch import nn

from co_detr.expected_stages import Expected, ExpectedStages, surely_pooled

IMAGE_SIZES = torch.tensor([[64, 80], [60, 72]])


@pytest.fixture(scope="module", params=["query", "roi", "atss"])
def model(request: pytest.FixtureRequest, tiny_config: Path) -> nn.Module:
    """In float64, with weights of which none is 0."""
    model = build(tiny_config, 6).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    model.eval_head = request.param
    return model


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    images = torch.randn(2, 3, 64, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    images[1, :, 60:] = images[1, :, :, 72:] = 0
    return images


def stages(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return model.exportable(model.eval_head)(images, IMAGE_SIZES)[3]


def expected(model: nn.Module, images: torch.Tensor, found: dict[str, torch.Tensor], place: int) -> Expected:
    one = slice(place, place + 1)
    with torch.no_grad():
        side = ExpectedStages(model, images[one], IMAGE_SIZES[one])
        (result,) = side.of({name: stage[one] for name, stage in found.items()})
    return result


@pytest.mark.parametrize("place", [0, 1])
def test_the_exportable_head_computes_what_the_model_computes(model, images, place: int) -> None:
    found = stages(model, images)
    result = expected(model, images, found, place)
    bound = 1e-5 if model.eval_head == "atss" else 1e-9  # mmdet's ATSS gives deltas in float32
    for name, (value, true) in result.values.items():
        torch.testing.assert_close(
            value, true, rtol=bound, atol=bound, check_dtype=False, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert [choice.fault() for choice in result.choices] == [None] * len(result.choices)
    chosen = {name for name, stage in found.items() if stage.dtype == torch.int64}
    assert set(found) == set(result.values) | chosen
    assert result.choices[-1].name == "detections"


def test_a_batch_of_copies_is_computed_together_or_from_one(model, images) -> None:
    """Each copy by what was chosen on it."""
    copies = images[:1].expand(3, -1, -1, -1)
    with torch.no_grad():
        found = model.exportable(model.eval_head)(copies, IMAGE_SIZES[:1].expand(3, 2))[3]
        chosen = "proposals" if "proposals" in found else "queries"
        if chosen in found:
            found[chosen] = torch.stack([found[chosen][0], found[chosen][1].flip(0), found[chosen][2]])
        together = ExpectedStages(model, copies, IMAGE_SIZES[:1]).of(found)
        from_one = ExpectedStages(model, images[:1], IMAGE_SIZES[:1]).of(found)
        alone = ExpectedStages(model, images[:1], IMAGE_SIZES[:1])
    for place, (one, other) in enumerate(zip(together, from_one, strict=True)):
        with torch.no_grad():
            (by_itself,) = alone.of({name: stage[place : place + 1] for name, stage in found.items()})
        for name, (_, value) in by_itself.values.items():
            torch.testing.assert_close(one.values[name][1], value)
            torch.testing.assert_close(other.values[name][1], value)


def test_stages_follow_what_was_chosen_not_what_should_have_been(model, images) -> None:
    """Another choice is a fault of the choice alone: what comes after it is computed from it."""
    found = {name: stage.clone() for name, stage in stages(model, images).items()}
    (first,) = [name for name in ("queries", "anchors") if name in found]
    found[first][:, 0] = found[first][:, 1]
    result = expected(model, images, found, 0)
    assert any(choice.fault() for choice in result.choices)
    for value, true in result.values.values():
        assert value.shape == true.shape


@pytest.mark.parametrize("name", ["logits", "deltas", "boxes", "scores"])
def test_a_stage_that_is_off_is_seen(model, images, name: str) -> None:
    found = stages(model, images)
    for stage in [stage for stage in found if stage.endswith(name)]:
        moved = {**found, stage: found[stage] + 1e-3}
        value, true = expected(model, images, moved, 0).values[stage]
        assert (value - true).abs().max() > 5e-4, stage


def test_a_copy_with_another_threshold_chooses_wrongly(model, images) -> None:
    if model.eval_head == "query":
        return  # suppresses nothing
    other = copy.deepcopy(model)
    head = other.rpn_head if model.eval_head == "roi" else other.atss_head
    head.test_cfg["nms"]["iou_threshold"] -= 0.2
    result = expected(model, images, stages(other, images), 0)
    assert any(choice.fault() for choice in result.choices)


def test_boxes_on_a_step_of_roi_align_are_not_compared(tiny_config: Path) -> None:
    extractor = build(tiny_config, 6).roi_head.bbox_roi_extractor
    boxes = torch.tensor([[0.0, 0, 50, 47], [0, 0, 112, 112], [3, 3, 59, 20], [1, 1, 40.3, 30.2]])
    assert surely_pooled(extractor, boxes).tolist() == [True, False, False, True]
