"""Selections among candidates are judged correctly in spite of rounding."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torchvision
from torch import Tensor

from brs_detr.exporting.choices import Choice


def best(scores: Tensor, num_kept: int, **more: object) -> Choice:
    return Choice("queries", scores, scores.topk(num_kept).indices, num_kept, **more)  # type: ignore[arg-type]


def greedy(seed: int, num_kept: int = 12, iou_threshold: float = 0.5) -> Choice:
    """60 boxes of three labels on a small image, suppressed by torchvision; no two IoUs or scores are close."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(60, 2, generator=generator) * 60
    boxes = torch.cat([corners, corners + 20 + torch.rand(60, 2, generator=generator) * 20], 1)
    scores = torch.linspace(0.9, 0.1, 60)[torch.randperm(60, generator=generator)]
    labels = torch.randint(0, 3, (60,), generator=generator)
    kept = torchvision.ops.batched_nms(boxes.double(), scores.double(), labels, iou_threshold)[:num_kept]
    return Choice("detections", scores, kept, num_kept, boxes, labels, iou_threshold)


@pytest.mark.parametrize("num_kept", [1, 7, 50])
def test_the_best(num_kept: int) -> None:
    choice = best(torch.linspace(0, 1, 50), num_kept)
    assert choice.fault() is None
    assert dataclasses.replace(choice, chosen=choice.chosen.flip(0)).fault() is None


def test_another_than_the_best() -> None:
    choice = best(torch.linspace(0, 1, 50), 7)
    chosen = choice.chosen.clone()
    chosen[3] = 0
    fault = dataclasses.replace(choice, chosen=chosen).fault()
    assert fault == "43 candidates were not chosen; the best scores 0.938776, while one of 0 was"
    chosen[3] = chosen[4]
    assert "6 of them different" in dataclasses.replace(choice, chosen=chosen).fault()


def test_equal_scores_may_change_places() -> None:
    scores = torch.tensor([0.5, 0.9, 0.5, 0.5 + 1e-8, 0.1])
    for chosen in ([1, 0], [1, 2], [1, 3]):
        assert Choice("queries", scores, torch.tensor(chosen), 2).fault() is None
    assert Choice("queries", scores, torch.tensor([1, 4]), 2).fault() is not None


def test_too_few_were_chosen() -> None:
    choice = Choice("queries", torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0, -1]), 2)
    assert "2 candidates were not chosen" in choice.fault()


@pytest.mark.parametrize("seed", range(20))
def test_greedy_suppression(seed: int) -> None:
    """The result of torchvision is right; one box more or less, or another threshold, is wrong."""
    choice = greedy(seed)
    assert choice.fault() is None
    dropped = dataclasses.replace(choice, chosen=torch.where(torch.arange(12) == 2, -1, choice.chosen))
    assert "were not chosen" in dropped.fault()
    everything = dataclasses.replace(choice, num_kept=60)
    assert "were not chosen" in everything.fault()
    suppressed = dataclasses.replace(everything, chosen=choice.scores.argsort(descending=True)[:40])
    assert "two boxes were kept that overlap" in suppressed.fault()


def test_an_overlap_at_the_threshold_may_go_either_way() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0], [0.0, 0.0, 10.0, 5.1]])
    scores, labels = torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.int64)
    for chosen in ([0], [0, 1]):  # rounding may keep or drop an IoU of 1/2
        fault = Choice("detections", scores[:2], torch.tensor(chosen), 2, boxes[:2], labels[:2], 0.5).fault()
        assert fault is None
    assert "overlap by 0.51" in Choice("d", scores, torch.tensor([0, 2]), 2, boxes, labels, 0.5).fault()


def test_limits() -> None:
    scores = torch.tensor([0.5, 0.4, 0.3])
    above = Choice("detections", scores, torch.tensor([0, 1, -1]), 3, limits=((scores, 0.35),))
    assert above.fault() is None
    assert "candidate 2 was chosen" in dataclasses.replace(above, chosen=torch.tensor([0, 1, 2])).fault()
    at_it = dataclasses.replace(above, limits=((scores, 0.4),))
    assert at_it.fault() is None
    assert dataclasses.replace(at_it, chosen=torch.tensor([0, -1, -1])).fault() is None
    sides = torch.tensor([4.0, 0.0, 0.0])
    assert dataclasses.replace(above, limits=((sides, 0.0),), chosen=torch.tensor([0, -1, -1])).fault() is None
    assert dataclasses.replace(above, limits=((sides, 0.0),)).fault() is not None


def test_a_score_that_is_no_number_is_never_right() -> None:
    scores = torch.tensor([0.5, torch.nan, 0.3])
    assert Choice("queries", scores, torch.tensor([0, 1]), 2).fault() is not None
