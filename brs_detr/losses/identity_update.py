"""Losses whose gradient is stated rather than derived.

A step has no useful derivative; Identity Update (RS Loss, ICCV 2021) states what each logit receives. So a term is
computed together with its gradient, and autograd is told to take the one for the derivative of the other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def attach(logits: Tensor, values: Tensor, gradients: Tensor) -> tuple[Tensor, ...]:
    """Make losses of values whose derivatives by the logits are the gradients given with them.

    Args:
        logits: [..., N], any float dtype.
        values: [T, ...] T terms, detached.
        gradients: [T, ..., N] of each term, detached, in float32 or better.

    Returns:
        T tensors [...], each with a gradient of its own. Gradients of several terms are added before they are rounded
        to the dtype of the logits.
    """
    losses: tuple[Tensor, ...] = _IdentityUpdate.apply(logits, values, gradients)
    return losses


class _IdentityUpdate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, values: Tensor, gradients: Tensor) -> tuple[Tensor, ...]:
        ctx.dtype = logits.dtype
        ctx.save_for_backward(gradients)
        return tuple(value.clone() for value in values.unbind())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradients,) = ctx.saved_tensors
        total = upstream[0].unsqueeze(-1) * gradients[0]
        for weight, gradient in zip(upstream[1:], gradients[1:], strict=True):
            total = total.addcmul(weight.unsqueeze(-1), gradient)
        return total.to(ctx.dtype), None, None
