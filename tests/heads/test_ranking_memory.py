from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from brs_detr.heads.classification import ClassificationTargets
from brs_detr.heads.ranking import RankingLossMixin
from brs_detr.heads.ranking_loss import APLoss, BucketedRankSortLoss

NUM_CLASSES = 3


class Head(RankingLossMixin, nn.Module):
    def __init__(self, loss_cls: nn.Module, **kwargs: int) -> None:
        super().__init__(**kwargs)
        self.loss_cls = loss_cls


def batch(seed: int, num_predictions: int) -> tuple[Tensor, ClassificationTargets]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_predictions, NUM_CLASSES, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, NUM_CLASSES + 1, (num_predictions,), generator=generator)
    quality = torch.rand(num_predictions, generator=generator, dtype=torch.float64)
    return logits, ClassificationTargets(labels, torch.ones(num_predictions), quality, 1.0)


def joined(batches: list[tuple[Tensor, ClassificationTargets]]) -> tuple[Tensor, ClassificationTargets]:
    fields = ([getattr(targets, name) for _, targets in batches] for name in ("labels", "weights", "quality"))
    logits = torch.cat([logits.detach() for logits, _ in batches]).requires_grad_()
    return logits, ClassificationTargets(*map(torch.cat, fields), 1.0)


@pytest.mark.parametrize("loss_cls", [BucketedRankSortLoss(), APLoss()], ids=["BRS", "AP"])
def test_accumulated_gradients_are_those_of_one_large_batch(loss_cls: nn.Module) -> None:
    """Once the memory is full, and as long as weights stay as they are."""
    batches = [batch(seed, size) for seed, size in enumerate((20, 7, 12))]
    head = Head(loss_cls, ranking_memory=len(batches) - 1)
    for logits, targets in 2 * batches:
        logits.grad = None
        losses = head.classification_loss(logits, targets)
        (sum(losses.values()) / len(batches)).backward()
    whole, targets = joined(batches)
    expected = Head(loss_cls).classification_loss(whole, targets)
    sum(expected.values()).backward()
    assert torch.allclose(torch.cat([logits.grad for logits, _ in batches]), whole.grad, rtol=0, atol=1e-12)
    assert all(torch.allclose(losses[name], expected[name], rtol=0, atol=1e-12) for name in expected)


def test_groups_never_meet_and_evaluation_leaves_no_trace() -> None:
    head, alone = Head(BucketedRankSortLoss(), ranking_memory=2), Head(BucketedRankSortLoss())
    (logits, targets), (other, other_targets) = batch(0, 20), batch(1, 20)
    head.classification_loss(other, other_targets)
    head.eval()
    head.classification_loss(other, other_targets)
    head.train()
    in_other_group = ClassificationTargets(targets.labels, targets.weights, targets.quality, 1.0, "encoder")
    assert head.classification_loss(logits, in_other_group) == alone.classification_loss(logits, targets)
    assert (
        head.classification_loss(logits, targets)["loss_rank"]
        != alone.classification_loss(logits, targets)["loss_rank"]
    )


def test_layers_are_remembered_as_layers() -> None:
    head = Head(BucketedRankSortLoss(), ranking_memory=1)
    layers, targets = batch(0, 20)
    stacked = torch.stack([layers, layers + 1])
    both = ClassificationTargets(
        *(torch.stack([x, x]) for x in (targets.labels, targets.weights, targets.quality)), 1.0
    )
    head.classification_loss(stacked, both)
    losses = head.classification_loss(stacked, both)
    assert losses["loss_rank"].shape == (2,)
    head.classification_loss(*batch(2, 9))  # of another number of layers: not comparable
    (gradient,) = torch.autograd.grad(losses["loss_rank"].sum(), layers)
    assert gradient.isfinite().all()
