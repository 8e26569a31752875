"""What a head hands to its classification loss, and the loss that it gets by default."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from mmdet.utils import reduce_mean
from torch import Tensor, nn


@dataclass(frozen=True)
class ClassificationTargets:
    """Targets of N predictions, or of N in each of several layers: ``...`` is nothing or ``L``.

    Args:
        labels: ``[..., N]`` class of each prediction, ``num_classes`` for background.
        weights: ``[..., N]`` weight of each prediction; 0 leaves it out.
        quality: ``[..., N]`` IoU of each positive with its object, in [0, 1], detached; anything elsewhere.
        avg_factor: ``[...]`` what a loss that is a sum over predictions is divided by.
        group: which of the groups of a head that has several they are.
        box_losses: ``[P]`` loss of the box of each positive, in their order, for a loss that ranks both tasks.
    """

    labels: Tensor
    weights: Tensor
    quality: Tensor
    avg_factor: Tensor | float
    group: str = ""
    box_losses: Tensor | None = None


class ClassificationLossMixin:
    """Classification through one method, so that a mixin can put another loss in its place."""

    loss_cls: nn.Module

    def classification_loss(self, logits: Tensor, targets: ClassificationTargets) -> dict[str, Tensor]:
        """Score ``logits [..., N, C]`` of all layers in one call of the head's ``loss_cls``; losses are ``[...]``."""
        labels, weights = targets.labels, targets.weights
        losses = self.loss_cls(logits.flatten(0, -2), labels.flatten(), weights.flatten(), reduction_override="none")
        return {"loss_cls": average_losses(losses.reshape(*labels.shape, -1), targets.avg_factor)}

    def weigh_box_losses(self, box_losses: dict[str, Tensor], classification: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weigh the box losses ``[...]`` against those of classification; as configured, by default."""
        return box_losses

    def over_processes(self, value: Tensor) -> Tensor:
        """Mean of a value over the processes of a training."""
        return reduce_mean(value)


def average_losses(losses: Tensor, avg_factor: Tensor | float) -> Tensor:
    """Average the losses ``[..., N, K]`` of N predictions as mmdet does; ``avg_factor`` and result are ``[...]``."""
    return losses.sum((-2, -1)) / (avg_factor + torch.finfo(torch.float32).eps)
