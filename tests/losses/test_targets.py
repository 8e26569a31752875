from __future__ import annotations

import pytest
import torch

from brs_detr.losses import MIN_QUALITY, rank_sort_loss, ranking_targets, self_balancing_weight


def test_quality_stands_at_the_class_of_a_positive(device: torch.device) -> None:
    labels = torch.tensor([2, 3, 0], device=device)
    targets = ranking_targets(labels, torch.tensor([0.75, 9.0, 0.5], device=device), num_classes=3)
    expected = torch.tensor([[0, 0, 0.75], [0, 0, 0], [0.5, 0, 0]], device=device)
    torch.testing.assert_close(targets, expected)


def test_zero_weight_ignores_the_whole_row() -> None:
    labels, weights = torch.tensor([0, 2, 1, 2]), torch.tensor([0.0, 0.0, 0.3, 1.0])
    targets = ranking_targets(labels, torch.full((4,), 0.5), 2, weights)
    assert targets.tolist() == [[-1, -1], [-1, -1], [0, 0.5], [0, 0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_positive_without_overlap_stays_a_positive(dtype: torch.dtype) -> None:
    targets = ranking_targets(torch.tensor([0, 1]), torch.tensor([0.0, -0.1], dtype=dtype), 1)
    assert targets.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert targets[0, 0].item() == pytest.approx(MIN_QUALITY) and targets[1, 0] == 0
    logits = torch.tensor([-1.0, 1.0], requires_grad=True)
    rank_sort_loss(logits, targets.flatten()).rank.backward()
    assert logits.grad[0] < 0 < logits.grad[1]


def test_the_official_rule_makes_it_a_negative() -> None:
    targets = ranking_targets(torch.tensor([0, 0]), torch.tensor([0.0, 0.5]), 1, zero_iou_is_negative=True)
    assert targets.tolist() == [[0], [0.5]]


def test_quality_of_background_is_not_read_and_iou_is_clamped() -> None:
    targets = ranking_targets(torch.tensor([1, 0]), torch.tensor([float("nan"), 1.0001]), 1)
    assert targets.tolist() == [[0], [1]]


def test_no_gradient_reaches_the_quality() -> None:
    assert not ranking_targets(torch.tensor([0]), torch.tensor([0.5], requires_grad=True), 2).requires_grad


def test_no_examples() -> None:
    empty = torch.zeros(0)
    assert ranking_targets(empty.long(), empty, 4, empty).shape == (0, 4)


def test_leading_dimensions() -> None:
    labels = torch.tensor([[2, 3, 0], [1, 0, 3]])
    quality, weights = torch.rand(2, 3), torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    expected = [ranking_targets(*row[:2], 3, row[2]) for row in zip(labels, quality, weights, strict=True)]
    torch.testing.assert_close(ranking_targets(labels, quality, 3, weights), torch.stack(expected))


@pytest.mark.parametrize("name", ["labels", "quality", "weights"])
def test_wrong_shapes_are_an_error(name: str) -> None:
    arguments = {"labels": torch.zeros(3).long(), "quality": torch.zeros(3), "weights": torch.zeros(3)}
    arguments[name] = arguments[name].expand(2, 3)
    with pytest.raises(ValueError, match=name):
        ranking_targets(num_classes=2, **arguments)


def test_weight_gives_the_box_loss_the_value_of_the_ranking_loss(device: torch.device) -> None:
    ranking, box = torch.tensor([3.0, 0.25], device=device, requires_grad=True).unbind()
    assert (self_balancing_weight(ranking, box) * box).item() == pytest.approx(3.0)


def test_weight_is_detached_and_keeps_the_direction_of_the_box_loss() -> None:
    ranking, box = torch.tensor(3.0, requires_grad=True), torch.tensor(0.25, requires_grad=True)
    (self_balancing_weight(ranking, box) * box).backward()
    assert ranking.grad is None and box.grad.item() == 12.0


@pytest.mark.parametrize("ranking", [0.0, 2.0])
@pytest.mark.parametrize("box", [0.0, 1e-45])
def test_nothing_to_balance_is_a_weight_of_zero(ranking: float, box: float) -> None:
    assert self_balancing_weight(torch.tensor(ranking), torch.tensor(box)).item() == 0


def test_a_broken_box_loss_stays_visible() -> None:
    box = torch.tensor(float("nan"))
    assert (self_balancing_weight(torch.tensor(1.0), box) * box).isnan()


def test_mixed_dtypes_are_balanced() -> None:
    assert self_balancing_weight(torch.tensor(1.0), torch.tensor(0.5, dtype=torch.bfloat16)).dtype == torch.float32
