"""Losses whose gradient is stated rather than derived."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Term(NamedTuple):
    """A loss and the gradient that goes with it: value [] and gradient [N], float64, detached."""

    value: Tensor
    gradient: Tensor


def zero_term(logits: Tensor) -> Term:
    """Return the term of an input without positives: nothing to rank, nothing to change."""
    return Term(logits.new_zeros(()), torch.zeros_like(logits))


def attach(logits: Tensor, *terms: Term) -> tuple[Tensor, ...]:
    """Make scalars of the value of each term whose derivative by the logits is the term's gradient.

    A step has no useful derivative; Identity Update (RS Loss, ICCV 2021) states what each logit receives.

    Args:
        logits: [N], any float dtype.
        terms: computed from these logits.

    Returns:
        One scalar a term, float64 for float64 logits and float32 for all others. Each carries its own gradient, which
        arrives in the dtype of the logits.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return tuple(
        _StatedGradient.apply(logits, term.value.to(logits.dtype), term.gradient.to(logits.dtype)) for term in terms
    )


class _StatedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None
