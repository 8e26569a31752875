"""Losses whose gradient is stated rather than derived."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def attach(logits: Tensor, values: Tensor, gradients: Tensor) -> tuple[Tensor, ...]:
    """Make losses of values whose derivatives by the logits are the gradients given with them.

    A step has no useful derivative; Identity Update (RS Loss, ICCV 2021) states what each logit receives.

    Args:
        logits: [..., N], any float dtype.
        values: [T, ...] T terms, detached.
        gradients: [T, ..., N] of each term, detached, in float32 or better.

    Returns:
        T tensors [...], each with a gradient of its own. Gradients of several terms are added before they are rounded
        to the dtype of the logits.
    """
    return tuple(torch.ops.brs_detr.identity_update(logits, values, gradients).unbind())


@torch.library.custom_op("brs_detr::identity_update", mutates_args=())
def _identity_update(logits: Tensor, values: Tensor, gradients: Tensor) -> Tensor:
    return values.clone()


@_identity_update.register_fake
def _(logits: Tensor, values: Tensor, gradients: Tensor) -> Tensor:
    return torch.empty_like(values)


def _keep_gradients(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    logits, _, gradients = inputs
    ctx.dtype = logits.dtype
    ctx.save_for_backward(gradients)


@once_differentiable
def _state_gradient(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
    (gradients,) = ctx.saved_tensors
    first, *others = gradients
    weight, *weights = upstream[..., None]
    total = weight * first
    for weight, gradient in zip(weights, others, strict=True):
        total = torch.addcmul(total, weight, gradient)
    return total.to(ctx.dtype), None, None


_identity_update.register_autograd(_state_gradient, setup_context=_keep_gradients)
