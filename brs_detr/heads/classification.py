"""What a head hands to its classification loss, and the loss that it gets by default."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class ClassificationTargets:
    """Targets of the N predictions that one call of a classification loss sees.

    Args:
        labels: ``[N]`` class of each prediction, ``num_classes`` for background.
        weights: ``[N]`` weight of each prediction; 0 leaves it out.
        quality: ``[N]`` IoU of each positive with its object, in [0, 1], detached; anything elsewhere.
        avg_factor: what a loss that is a sum over predictions is divided by.
    """

    labels: Tensor
    weights: Tensor
    quality: Tensor
    avg_factor: Tensor | float


class ClassificationLossMixin:
    """Classification through one method, so that a mixin can put another loss in its place."""

    loss_cls: nn.Module

    def classification_loss(self, logits: Tensor, targets: ClassificationTargets) -> dict[str, Tensor]:
        """Score ``logits [N, C]`` by the ``loss_cls`` of the head."""
        loss = self.loss_cls(logits, targets.labels, targets.weights, avg_factor=targets.avg_factor)
        return {"loss_cls": loss}

    def weigh_box_losses(self, box_losses: dict[str, Tensor], classification: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weigh the box losses against those of classification; as configured, by default."""
        return box_losses
