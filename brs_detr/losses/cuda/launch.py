"""Values and gradients of all rows on a GPU: up to eight kernels, no synchronisation, no data-dependent shapes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from brs_detr.losses.checks import LOGITS_MESSAGE, POSITIVES_MESSAGE, TARGETS_MESSAGE
from brs_detr.losses.cuda import kernels

BLOCK = 1024  # logits per block
PAIR_BLOCK = 64  # positives per side of a tile of pairs
SCAN_BLOCK = 2048  # most ends of ramps that one block takes at a time
SLOTS = 1 << 14  # for copies of the sums over negatives
SMALLEST_RAMP = 1e-300  # replaces a ramp of length zero, by which lengths are divided


def write_terms(
    logits: Tensor,
    targets: Tensor,
    values: Tensor,
    gradients: Tensor,
    *,
    delta: float,
    bucketed: bool,
    interpolated: bool,
    sorting: bool,
    max_positives: int,
) -> None:
    """Fill values [T, L] and gradients [T, L, N] of logits and targets [L, N], N >= 1, any float dtype.

    Values and gradients are contiguous, float64 for float64 logits and otherwise float32. All rows may share their
    targets (stride 0). The options are those of `brs_detr.losses.operator.ranking_losses`. Invalid input, or more than
    ``max_positives`` positives in a row, raises a device-side assertion.
    """
    logits = logits.contiguous()
    if targets.stride(1) != 1 or targets.stride(0) != 0:
        targets = targets.contiguous()
    num_rows, num_logits = logits.shape
    capacity = max(1, min(max_positives, num_logits))
    slots = max(SLOTS, 2 * capacity + 1)
    num_steps = (2 * capacity).bit_length()
    bits = 61 - num_logits.bit_length()
    blocks = (triton.cdiv(num_logits, BLOCK), num_rows)
    pair_blocks = (triton.cdiv(capacity, PAIR_BLOCK), num_rows)
    compute = tl.float64 if logits.dtype == torch.float64 else tl.float32
    strides = num_logits, targets.stride(0), capacity

    found, found_quality, positives, quality, num_above, errors, sort_shares, shares, jumps = _buffers(
        logits.new_empty, torch.float64, num_rows, [capacity] * 9
    )
    ends, travelled, heights, slopes, sizes, means = _buffers(
        logits.new_empty, torch.float64, num_rows, [2 * capacity] * 2 + [2 * capacity + 1] * 2 + [capacity + 1] * 2
    )
    found_inds, inds, owners, end_inds = _buffers(
        logits.new_empty, torch.int32, num_rows, [capacity] * 2 + [2 * capacity] * 2
    )
    counters, sums, bucket_sums = _buffers(
        logits.new_zeros, torch.int64, num_rows, [2, 2 * slots, 2 * slots * bucketed]
    )
    is_valid = logits.new_empty((), dtype=torch.int32)
    gradients[1:].zero_()

    with torch.cuda.device(logits.device) if logits.is_cuda else nullcontext():
        kernels.collect_positives[blocks](
            logits, targets, counters, found, found_quality, found_inds, *strides, BLOCK=BLOCK
        )
        kernels.order_positives[pair_blocks](
            counters, found, found_quality, found_inds, positives, quality, inds, capacity, BLOCK=PAIR_BLOCK
        )
        kernels.relate_positives[pair_blocks](
            counters, positives, quality, ends, owners, end_inds, num_above, errors, sort_shares, capacity,
            DELTA=delta, SORTING=sorting, COMPUTE=compute, NUM_STEPS=num_steps, BLOCK=PAIR_BLOCK,
        )  # fmt: skip
        if sorting:
            kernels.write_sorting_gradient[pair_blocks](
                counters, positives, quality, inds, errors, sort_shares, gradients[1], num_logits, capacity,
                DELTA=delta, COMPUTE=compute, BLOCK=PAIR_BLOCK,
            )  # fmt: skip
        marks = positives if bucketed else ends
        kernels.count_negatives[blocks](
            logits, targets, counters, marks, bucket_sums if bucketed else sums, *strides, slots,
            DELTA=delta, BUCKETED=bucketed, BITS=bits, NUM_STEPS=num_steps, BLOCK=BLOCK,
        )  # fmt: skip
        if bucketed:
            kernels.count_buckets[(triton.cdiv(capacity + 1, BLOCK), num_rows)](
                counters, positives, ends, bucket_sums, sums, sizes, means, num_logits, capacity, slots,
                DELTA=delta, BITS=bits, NUM_STEPS=num_steps, BLOCK=BLOCK,
            )  # fmt: skip
        kernels.rank_positives[(1, num_rows)](
            counters, inds, ends, owners, end_inds, num_above, errors, sums, slopes, heights, travelled, shares, jumps,
            sizes, means, values, gradients, num_logits, capacity, slots, num_rows,
            DELTA=delta, RAMP=max(2 * delta, SMALLEST_RAMP), INTERPOLATED=interpolated, SORTING=sorting,
            BUCKETED=bucketed, BITS=bits, NUM_STEPS=num_steps,
            BLOCK=min(SCAN_BLOCK, triton.next_power_of_2(2 * capacity)), num_warps=8,
        )  # fmt: skip
        kernels.write_ranking_gradient[blocks](
            logits, targets, counters, marks, means if bucketed else heights, slopes, gradients, is_valid,
            *strides, num_rows, DELTA=delta, BUCKETED=bucketed, NUM_STEPS=num_steps, BLOCK=BLOCK,
        )  # fmt: skip
    torch._assert_async(is_valid, f"one of these: {LOGITS_MESSAGE}; {TARGETS_MESSAGE}; {POSITIVES_MESSAGE}")


def _buffers(make: Callable[..., Tensor], dtype: torch.dtype, num_rows: int, sizes: list[int]) -> tuple[Tensor, ...]:
    """Allocate one buffer for each size, in numbers per row, in one piece of memory."""
    buffers: tuple[Tensor, ...] = make(num_rows * sum(sizes), dtype=dtype).split([num_rows * size for size in sizes])
    return buffers
