"""Ranking losses in the place of a head's classification loss (BRS-DETR, section 4.2)."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.utils import reduce_mean
from torch import Tensor, nn

from brs_detr.heads.classification import ClassificationTargets
from brs_detr.heads.finite import finite_or_zero
from brs_detr.heads.ranking_gather import gather_ranked, largest_number
from brs_detr.heads.ranking_memory import Ranked, RankingMemory
from brs_detr.losses import RankSortLossOutput, ranking_targets, self_balancing_weight


class RankingLossMixin:
    """Classify by ranking, and weigh box losses by ``L_rank / L_box`` (self-balancing, RS Loss, section 4.2).

    Put it before a head that classifies through ``classification_loss`` and passes its box losses through
    ``weigh_box_losses``. ``loss_cls`` of the head names one of the losses registered in `brs_detr.heads`.

    Args:
        zero_iou_is_negative: treat a positive whose box does not touch its object as a negative, as the official
            code does by accident: such a query is pushed down as if it were background.
        ranking_memory: batches before this one to rank among as well, for gradient accumulation: one less than are
            accumulated (see `RankingMemory`).
        gather_ranking: in a training on several processes, rank among the predictions of all of them, and average and
            weigh box losses over all of them, as one process with the whole batch would. The official code ranks in
            each process.
    """

    loss_cls: Any  # one of brs_detr.heads.ranking_loss
    training: bool

    def __init__(
        self,
        *args: Any,
        zero_iou_is_negative: bool = False,
        ranking_memory: int = 0,
        gather_ranking: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.gather_ranking = gather_ranking
        self.zero_iou_is_negative = zero_iou_is_negative
        self.memory = RankingMemory(ranking_memory)

    def init_weights(self) -> None:
        """Initialise; logits begin around 0, where a score-based loss wants them low."""
        super().init_weights()  # type: ignore[misc]
        for layer in self.class_layers:  # type: ignore[attr-defined]
            nn.init.zeros_(layer.bias)

    def classification_loss(self, logits: Tensor, targets: ClassificationTargets) -> dict[str, Tensor]:
        """Rank ``logits [..., N, C]`` of all classes of a layer together, sorted by the IoU of the positives."""
        logits, verdict = finite_or_zero(logits)
        quality = ranking_targets(
            targets.labels,
            targets.quality.nan_to_num(0),
            logits.shape[-1],
            weights=targets.weights,
            zero_iou_is_negative=self.zero_iou_is_negative,
        )
        ranked, factor = Ranked(logits.flatten(-2), quality.flatten(-2), max_positives=max(logits.shape[-2], 1)), 1
        if self.memory.num_batches and self.training:
            ranked, num_batches = self.memory.join(targets.group, ranked)
            factor *= num_batches
        if self.gather_ranking and self.training:
            ranked, num_processes = gather_ranked(ranked)
            factor *= num_processes
        loss = self.loss_cls(ranked.logits, ranked.quality, max_positives=ranked.max_positives)
        named = {"rank": loss.rank, "sort": loss.sort} if isinstance(loss, RankSortLossOutput) else {"rank": loss}
        return {f"loss_{name}": _times(value, factor) + verdict for name, value in named.items()}

    def weigh_box_losses(self, box_losses: dict[str, Tensor], classification: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scale every box loss to the value of its layer's ranking losses, without a gradient through the scale."""
        ranking = torch.stack(list(classification.values())).sum(0)
        return {
            name: loss * self_balancing_weight(ranking, self.over_processes(loss.detach()))
            for name, loss in box_losses.items()
        }

    def largest_number(self, number: int) -> int:
        """Largest value of a number among the processes that rank together."""
        return largest_number(number) if self.gather_ranking and self.training else number

    def over_processes(self, value: Tensor) -> Tensor:
        """Mean over the processes that rank together; the value itself where each ranks alone."""
        return reduce_mean(value) if self.gather_ranking and self.training else value


def _times(loss: Tensor, factor: int) -> Tensor:
    """The same value with a gradient that is larger by a factor."""
    return loss if factor == 1 else loss + (factor - 1) * (loss - loss.detach())
