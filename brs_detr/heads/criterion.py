"""Classification and box losses of every head.

The head's ``loss_cls`` selects the criterion: `Criterion` scores each prediction independently,
`brs_detr.heads.ranking.RankingCriterion` ranks all of them together. Heads call both the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from mmdet.registry import MODELS
from mmdet.utils import reduce_mean
from torch import Tensor, nn

EPS = torch.finfo(torch.float32).eps  # mmdet adds it to every averaging factor


@dataclass(frozen=True)
class Targets:
    """Targets of N predictions. Leading dimensions ``...`` are empty, or ``L`` for the layers of a decoder.

    Args:
        labels: ``[..., N]`` class of each prediction; C, the number of classes, for background.
        weights: ``[..., N]`` classification weights; 0 excludes a prediction.
        num_positives: ``[...]`` positives in this process. Losses are averaged over them, or over 1 if there are none.
        box_weights: ``[P]`` weights of the positives' boxes; equal by default.
    """

    labels: Tensor
    weights: Tensor
    num_positives: Tensor
    box_weights: Tensor | None = None


class Criterion(nn.Module):
    """Score-based losses: score each prediction independently and average box losses over the positives.

    Args:
        loss_cls: classification loss with one sigmoid per class.
        box_losses: mmdet box losses, keyed by the name under which their value is returned.
        sync_cls_avg_factor: divide the classification loss by the number of positives averaged over all processes.
    """

    options: ClassVar[tuple[str, ...]] = ()
    """Head arguments that are passed on to the criterion."""

    def __init__(
        self, loss_cls: nn.Module, box_losses: Mapping[str, nn.Module], *, sync_cls_avg_factor: bool = True
    ) -> None:
        super().__init__()
        self._losses = {"loss_cls": loss_cls, **box_losses}  # plain dict: the head registers them
        self.sync_cls_avg_factor = sync_cls_avg_factor

    @property
    def loss_cls(self) -> Any:
        """The classification loss."""
        return self._losses["loss_cls"]

    def forward(
        self, logits: Tensor, targets: Targets, boxes: Mapping[str, tuple[Tensor, Tensor]], name: str = ""
    ) -> dict[str, Tensor]:
        """Compute all losses, ``[...]`` each.

        Args:
            logits: ``[..., N, C]``.
            targets: targets of these predictions.
            boxes: predicted and target boxes for each box loss, ``[..., N, 4]`` for all predictions or ``[P, 4]`` for
                the positives. The last pair is (x1, y1, x2, y2); its IoU is the quality of a positive.
            name: identifies this set of predictions if the head has several.
        """
        is_positive = targets.labels < logits.shape[-1]
        num_positives = self.over_processes(targets.num_positives).clamp(min=1)
        each = {}
        for key, pair in boxes.items():
            each[key] = self._box_losses(key, *pair)
            if each[key].shape == is_positive.shape:
                each[key] = each[key] * is_positive
        losses = self.classify(logits, targets, num_positives, [*boxes.values()][-1], each, name)
        averages = {}
        for key, values in each.items():
            if key not in losses:
                own = logits if values.shape == is_positive.shape else logits[is_positive]
                averages[key] = self._average(values, own, num_positives, targets.box_weights)
        return self._combine(losses, averages, is_positive)

    def loss_of_positives(
        self, name: str, values: Tensor, logits: Tensor, num_positives: Tensor, losses: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Add another loss of the positives, averaged in the same way as box losses.

        Args:
            name: key of the loss.
            values: ``[P]`` loss of each positive.
            logits: ``[P, C]`` logits of the positives.
            num_positives: see `Targets`.
            losses: losses returned by `forward`.
        """
        average = self._average(values, logits, self.over_processes(num_positives).clamp(min=1))
        return self._combine(losses, {name: average})

    def classify(
        self,
        logits: Tensor,
        targets: Targets,
        num_positives: Tensor,
        boxes: tuple[Tensor, Tensor],
        box_losses: dict[str, Tensor],
        name: str,
    ) -> dict[str, Tensor]:
        """Compute the classification losses; see `forward`. ``num_positives`` is the mean over processes."""
        labels, weights = targets.labels, targets.weights
        losses = self.loss_cls(logits.flatten(0, -2), labels.flatten(), weights.flatten(), reduction_override="none")
        factor = num_positives if self.sync_cls_avg_factor else targets.num_positives.clamp(min=1)
        return {"loss_cls": losses.reshape(*labels.shape, -1).sum((-2, -1)) / (factor + EPS)}

    def over_processes(self, value: Tensor) -> Tensor:
        """Average over the processes that share a batch."""
        return reduce_mean(value)

    def batch_max(self, number: int) -> int:
        """Return the maximum over the processes that share a batch, where they have to agree on a size."""
        return number

    def init_class_layers(self, layers: list[nn.Module]) -> None:
        """Initialise the biases of the classification layers, if the loss needs other values than the head sets."""

    def _box_losses(self, key: str, boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Return the loss of each box, ``[...]``.

        mmdet's IoU losses return a constant for empty input. Parameters would have no gradient, which stalls
        distributed training, so a zero multiple of every box is added.
        """
        losses = self._losses[key](boxes.flatten(0, -2), target_boxes.flatten(0, -2), reduction_override="none")
        losses = losses if losses.dim() == 1 else losses.sum(-1)  # L1 loss returns one value per coordinate
        return losses.reshape(boxes.shape[:-1]) + 0 * boxes.sum(-1)

    def _average(self, values: Tensor, logits: Tensor, num_positives: Tensor, weights: Tensor | None = None) -> Tensor:
        if weights is None:
            return values.sum(-1) / (num_positives + EPS)
        return (values * weights).sum(-1) / self.over_processes(weights.sum(-1)).clamp(min=1)

    def _combine(
        self, losses: dict[str, Tensor], averages: dict[str, Tensor], is_positive: Tensor | None = None
    ) -> dict[str, Tensor]:
        return losses | averages


def split_options(loss_cls: dict, arguments: dict[str, Any]) -> tuple[dict, dict[str, Any]]:
    """Remove the options of the criterion from a head's arguments.

    Args:
        loss_cls: config of the classification loss.
        arguments: keyword arguments of the head, changed in place.

    Returns:
        The config of the loss, and the options for `build_criterion`.
    """
    kind = loss_cls["type"]
    criterion = _criterion_class(kind if isinstance(kind, type) else MODELS.get(kind))
    options = {name: arguments.pop(name) for name in criterion.options if name in arguments}
    return ({"use_sigmoid": True, **loss_cls} if criterion.options else loss_cls), options


def build_criterion(loss_cls: nn.Module, box_losses: Mapping[str, nn.Module], **options: Any) -> Criterion:
    """Build the criterion of a classification loss.

    Args:
        loss_cls: the loss. If it is not score-based, its class has the attribute ``criterion_class``.
        box_losses: see `Criterion`.
        options: keyword arguments of the criterion.
    """
    return _criterion_class(type(loss_cls))(loss_cls, box_losses, **options)


def _criterion_class(loss: Any) -> type[Criterion]:
    return getattr(loss, "criterion_class", Criterion)
