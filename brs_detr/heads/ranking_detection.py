"""Ranking losses in heads that classify anchors or proposals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from brs_detr.heads.finite import finite_or_zero
from brs_detr.heads.ranking import RankingLossMixin
from brs_detr.losses import ALRPLoss, ranking_targets

SMALLEST_WEIGHT = 1e-12


class RankingDetectionMixin(RankingLossMixin):
    """`RankingLossMixin` for heads with `detection_losses`: every loss of the paper, aLRP included.

    Args:
        loss_cls: one of the losses registered in `brs_detr.heads`.
        score_weighted: weigh the box loss of a positive by its highest score (RS Loss, section 5). The official
            Co-DETR heads compute these weights and lose them again; those of the other detectors have them.
        constant_without_positives: make each loss its weight when there is no positive, as the official Co-DETR code
            does; by definition they are 0. Neither has a gradient.
    """

    needs_boxes = True  # as targets of regression, to measure IoU
    reg_decoded_bbox: bool

    def __init__(
        self,
        *args: Any,
        loss_cls: dict,
        score_weighted: bool = False,
        constant_without_positives: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, loss_cls={"use_sigmoid": True, **loss_cls}, **kwargs)
        self.score_weighted = score_weighted
        self.constant_without_positives = constant_without_positives
        if self.needs_boxes and not self.reg_decoded_bbox:
            raise ValueError(f"{type(self).__name__} needs reg_decoded_bbox=True: it measures IoU between boxes")
        if isinstance(self.loss_cls, ALRPLoss) and (self.gather_ranking or self.memory.num_batches):
            raise ValueError(
                "aLRP Loss ranks the predictions of one process and batch: leave out gather_ranking, memory"
            )

    def detection_losses(self, logits: Tensor, labels: Tensor, *others: Tensor) -> dict[str, Tensor]:
        """Score N predictions, P of them positive; see `DetectionLossMixin`."""
        losses: dict[str, Tensor] = super().detection_losses(logits, labels, *others)  # type: ignore[misc]
        if not self.constant_without_positives:
            return losses
        share_positive = self.over_processes((labels < logits.shape[-1]).any().to(logits.dtype))
        return constant_losses(losses, share_positive == 0, self.loss_cls.loss_weight)

    def classification_loss(self, logits: Tensor, targets: Any) -> dict[str, Tensor]:
        """Rank the predictions of all classes together; aLRP Loss ranks their boxes, too."""
        if not isinstance(self.loss_cls, ALRPLoss):
            return super().classification_loss(logits, targets)
        logits, verdict = finite_or_zero(logits)
        quality = targets.quality.nan_to_num(0)
        quality = ranking_targets(targets.labels, quality, logits.shape[-1], weights=targets.weights)
        loss = self.loss_cls(logits.flatten(), quality.flatten(), targets.box_losses)
        return {"loss_cls": loss.classification + verdict, "loss_bbox": loss.localisation + verdict}

    def average_box_loss(self, box_losses: Tensor, logits: Tensor, num_positives: Tensor) -> Tensor:
        """Average the losses ``[P]`` of the positives, weighted by their scores where that is wanted."""
        if not self.score_weighted:
            return super().average_box_loss(box_losses, logits, num_positives)  # type: ignore[misc, no-any-return]
        weights = logits.detach().sigmoid().amax(-1)  # [P]
        total = self.over_processes(weights.sum())
        return (weights * box_losses).sum() / torch.where(total < SMALLEST_WEIGHT, 1, total)

    def weigh_box_losses(self, box_losses: dict[str, Tensor], classification: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scale box losses to the value of the ranking losses; those of aLRP Loss are among ``classification``."""
        if "loss_bbox" in classification:
            return {}
        return super().weigh_box_losses(box_losses, classification)


def constant_losses(losses: dict[str, Tensor], is_constant: Tensor, value: float) -> dict[str, Tensor]:
    """Make every loss ``value``, without a gradient, where ``is_constant`` (a scalar) is true."""
    return {name: torch.where(is_constant, torch.full_like(loss, value), loss) for name, loss in losses.items()}
