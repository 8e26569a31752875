"""The operator behind the AP and RS losses: values and gradients of all rows in one call."""

from __future__ import annotations

import os
import shutil
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from brs_detr.losses.checks import check_delta, check_shapes
from brs_detr.losses.cpu import rows as cpu

LOWEST_CAPABILITY = (7, 0)  # of the NVIDIA GPUs that Triton supports


def ranking_losses(
    logits: Tensor,
    targets: Tensor,
    delta: float,
    max_positives: int | None = None,
    *,
    bucketed: bool = False,
    interpolated: bool = False,
    sorting: bool = False,
) -> tuple[Tensor, ...]:
    """Return the ranking loss and, with ``sorting``, the sorting loss of each row: mean errors of its positives.

    On a CUDA device with Triton nothing synchronises, and no shape depends on the data. There and on a CPU, equal
    input gives bit-identical results.

    Args:
        logits: [N] or [L, N].
        targets: [N] or [L, N]; [N] is shared by all rows.
        delta: half the length of the step's ramp, >= 0.
        max_positives: upper bound on the positives per row, >= 1; default N. It is the size of the buffers on a CUDA
            device.
        bucketed: let the negatives between two positives share one step.
        interpolated: see `brs_detr.losses.ap_loss`.
        sorting: return the sorting loss, too.

    Returns:
        One or two differentiable tensors, [] or [L]; float64 for float64 logits and float32 for all others.

    Raises:
        TypeError, ValueError: see `brs_detr.losses.checks`.
    """
    check_delta(delta)
    check_shapes(logits, targets)
    if max_positives is None:
        max_positives = logits.shape[-1]
    elif max_positives < 1:
        raise ValueError(f"max_positives must be >= 1, got {max_positives}")
    values, gradients = torch.ops.brs_detr.ranking_terms(
        logits.detach(), targets.detach(), delta, bucketed, interpolated, sorting, max_positives
    )
    return attach(logits, values, gradients)


@torch.library.custom_op("brs_detr::ranking_terms", mutates_args=())
def _ranking_terms(
    logits: Tensor,
    targets: Tensor,
    delta: float,
    bucketed: bool,
    interpolated: bool,
    sorting: bool,
    max_positives: int,
) -> tuple[Tensor, Tensor]:
    """Return values [T, ...] and gradients [T, ..., N] of the T terms."""
    values, gradients = _empty_terms(logits, sorting)
    if not logits.numel():
        return values.zero_(), gradients
    write_terms = cpu.write_terms
    if logits.device.type == "cuda" and can_run_triton():
        from brs_detr.losses.cuda.launch import write_terms
    rows = logits.reshape(-1, logits.shape[-1])
    write_terms(
        rows,
        targets.expand_as(logits).view_as(rows),
        values.view(len(values), -1),
        gradients.view(len(values), *rows.shape),
        delta=delta,
        bucketed=bucketed,
        interpolated=interpolated,
        sorting=sorting,
        max_positives=max_positives,
    )
    return values, gradients


@_ranking_terms.register_fake
def _(
    logits: Tensor, targets: Tensor, delta: float, bucketed: bool, interpolated: bool, sorting: bool, *rest: Any
) -> tuple[Tensor, Tensor]:
    return _empty_terms(logits, sorting)


def _empty_terms(logits: Tensor, sorting: bool) -> tuple[Tensor, Tensor]:
    dtype, num_terms = torch.promote_types(logits.dtype, torch.float32), 1 + sorting
    return (
        logits.new_empty(num_terms, *logits.shape[:-1], dtype=dtype),
        logits.new_empty(num_terms, *logits.shape, dtype=dtype),
    )


@cache
def can_run_triton() -> bool:
    """Whether Triton can run here: it is installed, finds a C compiler, and supports the GPU."""
    compilers = os.environ.get("CC", "cc"), "gcc", "clang"
    return (
        find_spec("triton") is not None
        and any(map(shutil.which, compilers))
        and torch.cuda.get_device_capability() >= LOWEST_CAPABILITY
    )


def attach(logits: Tensor, values: Tensor, gradients: Tensor) -> tuple[Tensor, ...]:
    """Return ``values`` as losses whose gradients by the logits are ``gradients``.

    The step function has no useful derivative; Identity Update (RS Loss, ICCV 2021) defines the gradient of each logit
    instead. A term is therefore computed together with its gradient, which autograd takes as its derivative.

    Args:
        logits: [..., N], any float dtype.
        values: [T, ...], T terms, detached.
        gradients: [T, ..., N], of each term, detached, at least float32.

    Returns:
        T tensors [...], each with its own gradient. The gradients of several terms are added before they are rounded
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
