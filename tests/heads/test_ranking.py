"""The mixin that puts a ranking loss in the place of a head's classification loss."""

from __future__ import annotations

import pytest
import torch
from mmdet.models.losses import FocalLoss
from torch import nn

from brs_detr.heads.classification import ClassificationLossMixin, ClassificationTargets
from brs_detr.heads.ranking import RankingLossMixin
from brs_detr.heads.ranking_detection import constant_losses
from brs_detr.heads.ranking_loss import BucketedAPLoss, BucketedRankSortLoss, RankSortLoss
from brs_detr.losses import bucketed_rank_sort_loss


class Head(ClassificationLossMixin, nn.Module):
    def __init__(self, loss_cls: nn.Module) -> None:
        super().__init__()
        self.loss_cls = loss_cls


class RankingHead(RankingLossMixin, Head):
    pass


def make_targets(labels, quality, weights=None) -> ClassificationTargets:
    weights = [1.0] * len(labels) if weights is None else weights
    return ClassificationTargets(torch.tensor(labels), torch.tensor(weights), torch.tensor(quality), 1.0)


def test_ranks_all_classes_together():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    targets = make_targets([0, 2, 3, 3], [0.5, 0.9, 0.7, 0.0])
    losses = RankingHead(BucketedRankSortLoss(delta=0.5, loss_weight=2.0)).classification_loss(logits, targets)
    dense = torch.tensor([[0.5, 0, 0], [0, 0, 0.9], [0, 0, 0], [0, 0, 0]])
    expected = bucketed_rank_sort_loss(logits.flatten(), dense.flatten(), delta=0.5)
    assert losses["loss_rank"] == pytest.approx(2 * expected.rank)
    assert losses["loss_sort"] == pytest.approx(2 * expected.sort)


def make_layers() -> tuple[torch.Tensor, list[ClassificationTargets], ClassificationTargets]:
    """Logits of two layers, the targets of each, and of both together."""
    layers = [
        ClassificationTargets(torch.randint(0, 4, (8,)), torch.randint(0, 2, (8,)).float(), torch.rand(8), factor)
        for factor in torch.tensor([3.0, 5.0])
    ]
    fields = ("labels", "weights", "quality", "avg_factor")
    together = ClassificationTargets(*(torch.stack([getattr(layer, name) for layer in layers]) for name in fields))
    return torch.randn(2, 8, 3), layers, together


def test_focal_loss_of_layers_is_that_of_mmdet():
    logits, layers, together = make_layers()
    loss = FocalLoss(loss_weight=2.0)
    expected = [
        loss(row, targets.labels, targets.weights, avg_factor=targets.avg_factor)
        for row, targets in zip(logits, layers, strict=True)
    ]
    found = Head(loss).classification_loss(logits, together)["loss_cls"]
    torch.testing.assert_close(found, torch.stack(expected))
    found = Head(loss).classification_loss(logits[0], layers[0])["loss_cls"]
    torch.testing.assert_close(found, expected[0])


def test_layers_are_ranked_apart():
    logits, layers, together = make_layers()
    head = RankingHead(BucketedRankSortLoss(delta=0.5, loss_weight=2.0))
    found = head.classification_loss(logits, together)
    for name in ("loss_rank", "loss_sort"):
        expected = [head.classification_loss(*layer)[name] for layer in zip(logits, layers, strict=True)]
        torch.testing.assert_close(found[name], torch.stack(expected))


def test_the_loss_is_told_that_a_box_is_positive_for_one_class_at_most():
    logits, _, together = make_layers()
    head, told = RankingHead(RankSortLoss()), []
    head.loss_cls.register_forward_hook(lambda _, args, kwargs, result: told.append(kwargs), with_kwargs=True)
    head.classification_loss(logits, together)
    assert told == [{"max_positives": 8}]


def test_weight_zero_leaves_a_prediction_out():
    logits = torch.tensor([[0.0], [5.0]], requires_grad=True)
    head = RankingHead(RankSortLoss(delta=0.5))
    losses = head.classification_loss(logits, make_targets([0, 1], [0.8, 0.0], weights=[1.0, 0.0]))
    assert losses["loss_rank"] == 0
    losses["loss_rank"].backward()
    assert logits.grad.tolist() == [[0.0], [0.0]]


def test_a_positive_without_overlap_stays_a_positive_unless_asked_otherwise():
    logits = torch.tensor([[0.0], [0.0]], requires_grad=True)
    targets = make_targets([0, 0], [0.9, 0.0])
    fixed = RankingHead(RankSortLoss(delta=0.5)).classification_loss(logits, targets)
    official = RankingHead(RankSortLoss(delta=0.5), zero_iou_is_negative=True).classification_loss(logits, targets)
    assert fixed["loss_rank"] == 0
    assert official["loss_rank"] > 0


def test_average_precision_has_no_sorting_part():
    losses = RankingHead(BucketedAPLoss(delta=1.0)).classification_loss(
        torch.zeros(2, 1), make_targets([0, 1], [0.5, 0.0])
    )
    assert set(losses) == {"loss_rank"}


def test_box_losses_take_the_value_of_the_ranking_losses():
    box = torch.tensor(0.25, requires_grad=True)
    weighed = RankingHead(RankSortLoss(delta=0.5)).weigh_box_losses(
        {"loss_bbox": box, "loss_iou": 7 * box}, {"loss_rank": torch.tensor(1.5), "loss_sort": torch.tensor(0.5)}
    )
    assert weighed["loss_bbox"].item() == pytest.approx(2.0)
    assert weighed["loss_iou"].item() == pytest.approx(2.0)
    weighed["loss_bbox"].backward()
    assert box.grad.item() == pytest.approx(8.0)


def test_box_losses_are_weighed_by_layer():
    weighed = RankingHead(RankSortLoss()).weigh_box_losses(
        {"loss_bbox": torch.tensor([0.25, 0.0, 7.0])},
        {"loss_rank": torch.tensor([1.5, 1.0, 3.0]), "loss_sort": torch.tensor([0.5, 0.0, 1.0])},
    )
    assert weighed["loss_bbox"].tolist() == [2.0, 0.0, 4.0]


def test_box_losses_of_zero_stay_zero():
    box = torch.tensor(0.0, requires_grad=True)
    weighed = RankingHead(RankSortLoss(delta=0.5)).weigh_box_losses(
        {"loss_bbox": box}, {"loss_rank": torch.tensor(1.0)}
    )
    assert weighed["loss_bbox"] == 0
    weighed["loss_bbox"].backward()
    assert box.grad == 0


def test_constant_losses_have_no_gradient():
    loss = torch.tensor(0.0, requires_grad=True)
    constant = constant_losses({"loss": loss * 3}, torch.tensor(True), 5.0)["loss"]
    assert constant == 5
    constant.backward()
    assert loss.grad == 0


def test_sigmoid_is_the_only_way():
    with pytest.raises(ValueError, match="sigmoid"):
        RankSortLoss(use_sigmoid=False)
    assert RankSortLoss().get_activation(torch.zeros(2, 3)).tolist() == [[0.5, 0.5, 0.5, 0.0]] * 2
