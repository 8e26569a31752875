"""The operator behind every ranking loss: values and gradients of all rows, in one call."""

from __future__ import annotations

import os
import shutil
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from brs_detr.losses.checks import check_delta, check_shapes
from brs_detr.losses.identity_update import attach
from brs_detr.losses.torch_terms import write_torch_terms
from brs_detr.losses.variant import Variant

OLDEST_CAPABILITY = (7, 0)  # of the NVIDIA GPUs that Triton makes code for


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
    """Ranking loss and, with ``sorting``, sorting loss of each row: the means of their errors over its positives.

    On a CUDA device with Triton nothing is read back, and no shape depends on the data. There and on a CPU the same
    input gives the same bits.

    Args:
        logits: [N] or [L, N].
        targets: [N] or [L, N]; [N] is shared by all rows.
        delta: half the length of the step's ramp, >= 0.
        max_positives: most positives in a row, >= 1, N by default. A bound saves memory and time on a CUDA device,
            where room is set aside for as many.
        bucketed: take the negatives between two positives as one.
        interpolated: see `brs_detr.losses.ranking.rank_positives`.
        sorting: whether to return the sorting loss too.

    Returns:
        One or two tensors, [] or [L], attached to the logits; float64 for float64 logits and float32 for all others.

    Raises:
        TypeError, ValueError: see `brs_detr.losses.checks`.
    """
    check_delta(delta)
    check_shapes(logits, targets)
    if max_positives is not None and max_positives < 1:
        raise ValueError(f"max_positives must be >= 1, got {max_positives}")
    variant = Variant(
        delta, bucketed, interpolated, sorting, logits.shape[-1] if max_positives is None else max_positives
    )
    values, gradients = torch.ops.brs_detr.ranking_terms(logits.detach(), targets.detach(), *variant)
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
    """Values [T, ...] and gradients [T, ..., N] of the T terms."""
    variant = Variant(delta, bucketed, interpolated, sorting, max_positives)
    values, gradients = _empty_terms(logits, variant)
    if not logits.numel():
        return values.zero_(), gradients
    write_terms = write_torch_terms
    if logits.device.type == "cuda" and can_run_triton():
        from brs_detr.losses.triton_terms import write_triton_terms as write_terms
    rows = logits.reshape(-1, logits.shape[-1])
    write_terms(
        rows,
        targets.expand_as(logits).view_as(rows),
        variant,
        values.view(variant.num_terms, -1),
        gradients.view(variant.num_terms, *rows.shape),
    )
    return values, gradients


@_ranking_terms.register_fake
def _(logits: Tensor, targets: Tensor, *variant: Any) -> tuple[Tensor, Tensor]:
    return _empty_terms(logits, Variant(*variant))


def _empty_terms(logits: Tensor, variant: Variant) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return (
        logits.new_empty(variant.num_terms, *logits.shape[:-1], dtype=dtype),
        logits.new_empty(variant.num_terms, *logits.shape, dtype=dtype),
    )


@cache
def can_run_triton() -> bool:
    """Whether Triton can run kernels here: it must be installed, find a C compiler, and know the GPU."""
    compilers = os.environ.get("CC", "cc"), "gcc", "clang"
    return (
        find_spec("triton") is not None
        and any(map(shutil.which, compilers))
        and torch.cuda.get_device_capability() >= OLDEST_CAPABILITY
    )
