"""Ranking losses for mmdet's heads, and the criterion that computes them (BRS-DETR, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.utils import reduce_mean
from torch import Tensor, nn

from brs_detr import losses
from brs_detr.heads.criterion import Criterion, Targets
from brs_detr.heads.numerics import finite_or_zero
from brs_detr.heads.ranking_batch import Ranked, RankingMemory, gather_ranked, max_over_processes
from brs_detr.losses.published import loop_rank_sort_loss

CLASSIFICATION = ("loss_rank", "loss_sort", "loss_cls")
SMALLEST_WEIGHT = 1e-12


class RankingCriterion(Criterion):
    """Rank all predictions together, and scale box losses to ``L_rank`` (self-balancing, RS Loss, section 4.2).

    Args:
        loss_cls: one of the losses in `LOSSES`.
        box_losses: see `Criterion`; their weights have no effect.
        zero_iou_is_negative: treat a positive whose box does not overlap its object as a negative. The official code
            does this by accident: it pushes such queries down as if they were background.
        ranking_memory: number of earlier batches to include in the ranking. With gradient accumulation, set it to the
            number of accumulated batches minus one (see `RankingMemory`).
        gather_ranking: in distributed training, rank the predictions of all processes together, and average and balance
            box losses over all of them, as one process with the whole batch would. The official code ranks within each
            process.
        score_weighted: weight the box loss of a positive by its highest score (RS Loss, section 5). The official
            Co-DETR heads compute these weights but do not apply them; the other official detectors apply them.
        constant_without_positives: return the loss weight instead of 0 if there is no positive, as the official Co-DETR
            code does. Neither has a gradient.
    """

    options = (
        "zero_iou_is_negative",
        "ranking_memory",
        "gather_ranking",
        "score_weighted",
        "constant_without_positives",
    )

    def __init__(
        self,
        loss_cls: nn.Module,
        box_losses: Mapping[str, nn.Module],
        *,
        zero_iou_is_negative: bool = False,
        ranking_memory: int = 0,
        gather_ranking: bool = False,
        score_weighted: bool = False,
        constant_without_positives: bool = False,
        sync_cls_avg_factor: bool = True,
    ) -> None:
        super().__init__(loss_cls, box_losses, sync_cls_avg_factor=sync_cls_avg_factor)
        self.zero_iou_is_negative = zero_iou_is_negative
        self.memory = RankingMemory(ranking_memory)
        self.gather_ranking = gather_ranking
        self.score_weighted = score_weighted
        self.constant_without_positives = constant_without_positives

    def classify(
        self,
        logits: Tensor,
        targets: Targets,
        num_positives: Tensor,
        boxes: tuple[Tensor, Tensor],
        box_losses: dict[str, Tensor],
        name: str,
    ) -> dict[str, Tensor]:
        """Rank ``logits [..., N, C]`` of all classes of a layer together; positives are sorted by IoU."""
        logits, verdict = finite_or_zero(logits)
        quality = dense_targets(logits, targets, *boxes, zero_iou_is_negative=self.zero_iou_is_negative)
        ranked, factor = Ranked(logits.flatten(-2), quality.flatten(-2), max_positives=max(logits.shape[-2], 1)), 1
        if self.memory.num_batches and self.training:
            ranked, num_batches = self.memory.join(name, ranked)
            factor *= num_batches
        if self.gather_ranking and self.training:
            ranked, num_processes = gather_ranked(ranked)
            factor *= num_processes
        loss = self.loss_cls(ranked.logits, ranked.quality, max_positives=ranked.max_positives)
        named = loss._asdict() if isinstance(loss, losses.RankSortLossOutput) else {"rank": loss}
        return {f"loss_{key}": _scale_gradient(value, factor) + verdict for key, value in named.items()}

    def over_processes(self, value: Tensor) -> Tensor:
        """Average over the processes if they rank together; otherwise return the value."""
        return reduce_mean(value) if self.gather_ranking and self.training else value

    def batch_max(self, number: int) -> int:
        """Return the maximum over the processes if they rank together; otherwise the number."""
        return max_over_processes(number) if self.gather_ranking and self.training else number

    def init_class_layers(self, layers: list[nn.Module]) -> None:
        """Start with logits around 0. (Score-based losses need low logits.)"""
        for layer in layers:
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def _average(self, values: Tensor, logits: Tensor, num_positives: Tensor, weights: Tensor | None = None) -> Tensor:
        if not self.score_weighted:
            return super()._average(values, logits, num_positives, weights)
        weights = logits.detach().sigmoid().amax(-1)  # background has a loss of 0
        total = self.over_processes(weights.sum(-1))
        return (weights * values).sum(-1) / torch.where(total < SMALLEST_WEIGHT, 1, total)

    def _combine(
        self, found: dict[str, Tensor], averages: dict[str, Tensor], is_positive: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Scale the box losses of each layer to the value of its ranking losses. The scale has no gradient."""
        ranking = torch.stack([found[key] for key in CLASSIFICATION if key in found]).sum(0)
        found = found | {
            key: loss * losses.self_balancing_weight(ranking, self.over_processes(loss.detach()))
            for key, loss in averages.items()
        }
        if is_positive is None or not self.constant_without_positives:
            return found
        has_positives = self.over_processes(is_positive.any(-1).to(ranking.dtype)) > 0
        constant = self.loss_cls.loss_weight
        return {key: torch.where(has_positives, loss, torch.full_like(loss, constant)) for key, loss in found.items()}


class ALRPCriterion(RankingCriterion):
    """aLRP Loss, which also ranks box losses and balances them itself."""

    def __init__(self, loss_cls: nn.Module, box_losses: Mapping[str, nn.Module], **options: Any) -> None:
        super().__init__(loss_cls, box_losses, **options)
        if self.gather_ranking or self.memory.num_batches:
            raise ValueError(
                "aLRP Loss ranks the predictions of one process and one batch: remove gather_ranking and ranking_memory"
            )

    def classify(
        self,
        logits: Tensor,
        targets: Targets,
        num_positives: Tensor,
        boxes: tuple[Tensor, Tensor],
        box_losses: dict[str, Tensor],
        name: str,
    ) -> dict[str, Tensor]:
        """Rank the predictions of all classes together with their box losses."""
        logits, verdict = finite_or_zero(logits)
        quality = dense_targets(logits, targets, *boxes)
        loss = self.loss_cls(logits.flatten(), quality.flatten(), box_losses["loss_bbox"])
        return {"loss_cls": loss.classification + verdict, "loss_bbox": loss.localisation + verdict}


def dense_targets(
    logits: Tensor, targets: Targets, boxes: Tensor, target_boxes: Tensor, *, zero_iou_is_negative: bool = False
) -> Tensor:
    """Targets ``[..., N, C]`` of a ranking loss: the IoU at a positive's class, and 0 or ignored elsewhere."""
    from mmdet.structures.bbox import bbox_overlaps  # needs mmcv's operators, which `prepare` may have to supply

    quality = bbox_overlaps(boxes.detach(), target_boxes, is_aligned=True)
    if quality.shape != targets.labels.shape:  # of positives alone
        iou, quality = quality, quality.new_zeros(targets.labels.shape)
        quality[targets.labels < logits.shape[-1]] = iou
    return losses.ranking_targets(
        targets.labels,
        quality.nan_to_num(0),
        logits.shape[-1],
        weights=targets.weights,
        zero_iou_is_negative=zero_iou_is_negative,
    )


def _scale_gradient(loss: Tensor, factor: int) -> Tensor:
    return loss if factor == 1 else loss + (factor - 1) * (loss - loss.detach())


class SigmoidClassification:
    """Interface that mmdet's heads expect of a classification loss with one sigmoid per class and no background logit.

    Args:
        use_sigmoid: must be true. mmdet's anchor heads read it from the config.
    """

    criterion_class: type[Criterion] = RankingCriterion
    use_sigmoid = True
    custom_cls_channels = True
    custom_activation = True

    def __init__(self, *args: Any, use_sigmoid: bool = True, **kwargs: Any) -> None:
        if not use_sigmoid:
            raise ValueError("a ranking loss scores each class by a sigmoid: remove use_sigmoid=False")
        super().__init__(*args, **kwargs)

    def get_cls_channels(self, num_classes: int) -> int:
        """Return the number of logits per box."""
        return num_classes

    def get_activation(self, logits: Tensor) -> Tensor:
        """Return scores ``[N, C + 1]`` of logits ``[N, C]``; the background, which mmdet drops, scores 0."""
        return F.pad(logits.sigmoid(), (0, 1))


class APLoss(SigmoidClassification, losses.APLoss):
    """Average Precision Loss."""


class BucketedAPLoss(SigmoidClassification, losses.BucketedAPLoss):
    """Bucketed Average Precision Loss."""


class RankSortLoss(SigmoidClassification, losses.RankSortLoss):
    """Rank & Sort Loss."""


class BucketedRankSortLoss(SigmoidClassification, losses.BucketedRankSortLoss):
    """Bucketed Rank & Sort Loss."""


class ALRPLoss(SigmoidClassification, losses.ALRPLoss):
    """Average Localisation-Recall-Precision Loss."""

    criterion_class = ALRPCriterion


class DRLoss(SigmoidClassification, losses.DRLoss):
    """Distributional Ranking Loss."""


class LoopRankSortLoss(RankSortLoss):
    """Rank & Sort Loss in a loop over positives, as first published: the same values, as a reference for benchmarks."""

    def forward(
        self, logits: Tensor, targets: Tensor, *, max_positives: int | None = None
    ) -> losses.RankSortLossOutput:
        """Return the weighted losses of logits and targets ``[N]`` or ``[L, N]``."""
        targets = targets.to(logits.dtype)
        if logits.dim() == 1:
            return self._weighted(loop_rank_sort_loss(logits, targets, self.delta))
        rows = [loop_rank_sort_loss(*row, self.delta) for row in zip(logits, targets.expand_as(logits), strict=True)]
        return self._weighted(losses.RankSortLossOutput(*map(torch.stack, zip(*rows, strict=True))))


LOSSES = (ALRPLoss, APLoss, BucketedAPLoss, RankSortLoss, BucketedRankSortLoss, DRLoss, LoopRankSortLoss)
