"""Focal loss (Lin et al., 2017) and its gradient, from logits and from softmax scores.

The sigmoid form uses ``logsigmoid(x)`` and ``logsigmoid(-x)``: ``log(1 - p)`` would lose all precision at large x.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from brs_detr.mm.ops.precision import widened


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``output`` with ``-alpha_t (1 - p_t)^gamma log p_t`` for every class.

    Args:
        input: ``[N, C]`` logits.
        target: ``[N]`` class in [0, C); any other number makes the row negative for all classes.
        weight: ``[C]`` factor for the rows of each target class (1 for negative rows), or empty.
        output: ``[N, C]``, filled in place.
        gamma: focusing exponent, >= 0.
        alpha: weight of positives; negatives have ``1 - alpha``.
    """
    logits = widened(input)
    positive = alpha * (-logits).sigmoid() ** gamma * -logsigmoid(logits)
    negative = (1 - alpha) * logits.sigmoid() ** gamma * -logsigmoid(-logits)
    output.copy_(torch.where(_is_positive(target, logits), positive, negative) * _row_weight(weight, target))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``grad_input``, ``[N, C]``, with the derivative of each loss by its logit."""
    logits = widened(input)
    p, q = logits.sigmoid(), (-logits).sigmoid()
    positive = alpha * q**gamma * (gamma * p * logsigmoid(logits) - q)
    negative = (1 - alpha) * p**gamma * (p - gamma * q * logsigmoid(-logits))
    grad_input.copy_(torch.where(_is_positive(target, logits), positive, negative) * _row_weight(weight, target))


def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``output``, ``[N]``, with ``-alpha (1 - p_t)^gamma log p_t`` of the target class.

    Args:
        softmax: ``[N, C]`` scores.
        target: ``[N]`` class in [0, C); the loss of rows with any other number is 0.
        weight: ``[C]`` factor for each target class, or empty.
        output: ``[N]``, filled in place.
        gamma: focusing exponent, >= 0.
        alpha: factor for all rows.
    """
    p, is_valid = _target_score(softmax, target)
    loss = -alpha * (1 - p) ** gamma * p.log()
    output.copy_(torch.where(is_valid, loss, 0) * _row_weight(weight, target)[:, 0])


def softmax_focal_loss_backward(
    softmax: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``grad_input``, ``[N, C]``, with the derivative of each row's loss by the row's logits.

    ``buff``, ``[N]``, is filled with ``p_t`` times the derivative by ``p_t``, a factor of the result.
    """
    p, is_valid = _target_score(softmax, target)
    q = (1 - p).clamp(min=torch.finfo(p.dtype).tiny)
    slope = alpha * (gamma * q ** (gamma - 1) * p * p.log() - q**gamma)
    slope = torch.where(is_valid, slope, 0) * _row_weight(weight, target)[:, 0]
    buff.copy_(slope)
    grad_input.copy_(slope[:, None] * (_is_positive(target, softmax).to(p.dtype) - widened(softmax)))


def _is_positive(target: Tensor, scores: Tensor) -> Tensor:
    return target[:, None] == torch.arange(scores.shape[1], device=scores.device)  # [N, C]


def _row_weight(weight: Tensor, target: Tensor) -> Tensor:
    if weight.numel() == 0:
        return weight.new_ones(1, 1)
    is_class = (target >= 0) & (target < len(weight))
    return torch.where(is_class, weight[target.clamp(0, len(weight) - 1)], 1)[:, None]  # [N, 1]


def _target_score(softmax: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the score of the target class, above 0 to keep its logarithm finite, and whether there is one."""
    num_classes = softmax.shape[1]
    score = widened(softmax).gather(1, target.clamp(0, num_classes - 1)[:, None])[:, 0]
    return score.clamp(min=torch.finfo(score.dtype).tiny), (target >= 0) & (target < num_classes)
