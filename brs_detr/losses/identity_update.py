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
    return tuple(_IdentityUpdate.apply(logits, values, gradients).unbind())


def keep_gradients(ctx: Any, logits: Tensor, gradients: Tensor) -> None:
    """Store in the forward pass what `state_gradient` needs in the backward pass."""
    ctx.dtype = logits.dtype
    ctx.save_for_backward(gradients)


@once_differentiable
def state_gradient(ctx: Any, upstream: Tensor) -> Tensor:
    """Weigh the gradients [T, ..., N] by what comes from above for each value [T, ...], and add them up: [..., N]."""
    (gradients,) = ctx.saved_tensors
    first, *others = gradients
    weight, *weights = upstream[..., None]
    total: Tensor = weight * first
    for weight, gradient in zip(weights, others, strict=True):
        total = torch.addcmul(total, weight, gradient)
    return total.to(ctx.dtype)


class _IdentityUpdate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, values: Tensor, gradients: Tensor) -> Tensor:
        keep_gradients(ctx, logits, gradients)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        return state_gradient(ctx, upstream), None, None
