"""Values and gradients of all rows on a GPU: up to eight kernels, nothing read back, no shape made of the data."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from brs_detr.losses import triton_kernels as kernels
from brs_detr.losses.checks import LOGITS_MESSAGE, POSITIVES_MESSAGE, TARGETS_MESSAGE
from brs_detr.losses.step import SMALLEST_RAMP
from brs_detr.losses.variant import Variant

BLOCK = 1024  # logits a block
PAIR_BLOCK = 64  # positives a side of a tile of pairs
SCAN_BLOCK = 2048  # ends of ramps that one block takes at a time, at most
SLOTS = 1 << 14  # room for copies of the sums over negatives


def write_triton_terms(logits: Tensor, targets: Tensor, variant: Variant, values: Tensor, gradients: Tensor) -> None:
    """Write the terms of L rows.

    Wrong input, or more than ``max_positives`` positives in a row, ends in a device-side assertion, without waiting.

    Args:
        logits: [L, N], any float dtype, N >= 1.
        targets: [L, N], any float dtype; all rows may be the same one (stride 0).
        variant: of the loss.
        values: [T, L], float32, or float64 for float64 logits, contiguous.
        gradients: [T, L, N], likewise.
    """
    delta, bucketed, interpolated, sorting, max_positives = variant
    logits = logits.contiguous()
    if targets.stride(1) != 1 or targets.stride(0) != 0:
        targets = targets.contiguous()
    num_rows, num_logits = logits.shape
    room = max(1, min(max_positives, num_logits))
    slots = max(SLOTS, 2 * room + 1)
    num_steps = (2 * room).bit_length()
    bits = 61 - num_logits.bit_length()
    blocks = (triton.cdiv(num_logits, BLOCK), num_rows)
    pair_blocks = (triton.cdiv(room, PAIR_BLOCK), num_rows)
    compute = tl.float64 if logits.dtype == torch.float64 else tl.float32
    strides = num_logits, targets.stride(0), room

    found, found_quality, positives, quality, num_above, errors, sort_shares, shares, jumps = _rooms(
        logits.new_empty, torch.float64, num_rows, [room] * 9
    )
    ends, travelled, heights, slopes, sizes, means = _rooms(
        logits.new_empty, torch.float64, num_rows, [2 * room] * 2 + [2 * room + 1] * 2 + [room + 1] * 2
    )
    found_inds, inds, owners, places = _rooms(logits.new_empty, torch.int32, num_rows, [room, room, 2 * room, 2 * room])
    counters, sums, bucket_sums = _rooms(logits.new_zeros, torch.int64, num_rows, [2, 2 * slots, 2 * slots * bucketed])
    is_valid = logits.new_empty((), dtype=torch.int32)
    gradients[1:].zero_()

    with torch.cuda.device(logits.device) if logits.is_cuda else nullcontext():
        kernels.collect_positives[blocks](
            logits, targets, counters, found, found_quality, found_inds, *strides, BLOCK=BLOCK
        )
        kernels.order_positives[pair_blocks](
            counters, found, found_quality, found_inds, positives, quality, inds, room, BLOCK=PAIR_BLOCK
        )
        kernels.relate_positives[pair_blocks](
            counters, positives, quality, ends, owners, places, num_above, errors, sort_shares, room,
            DELTA=delta, SORTING=sorting, COMPUTE=compute, NUM_STEPS=num_steps, BLOCK=PAIR_BLOCK,
        )  # fmt: skip
        if sorting:
            kernels.write_sorting_gradient[pair_blocks](
                counters, positives, quality, inds, errors, sort_shares, gradients[1], num_logits, room,
                DELTA=delta, COMPUTE=compute, BLOCK=PAIR_BLOCK,
            )  # fmt: skip
        marks = positives if bucketed else ends
        kernels.place_negatives[blocks](
            logits, targets, counters, marks, bucket_sums if bucketed else sums, *strides, slots,
            DELTA=delta, BUCKETED=bucketed, BITS=bits, NUM_STEPS=num_steps, BLOCK=BLOCK,
        )  # fmt: skip
        if bucketed:
            kernels.place_buckets[(triton.cdiv(room + 1, BLOCK), num_rows)](
                counters, positives, ends, bucket_sums, sums, sizes, means, num_logits, room, slots,
                DELTA=delta, BITS=bits, NUM_STEPS=num_steps, BLOCK=BLOCK,
            )  # fmt: skip
        kernels.rank_positives[(1, num_rows)](
            counters, inds, ends, owners, places, num_above, errors, sums, slopes, heights, travelled, shares, jumps,
            sizes, means, values, gradients, num_logits, room, slots, num_rows,
            DELTA=delta, RAMP=max(2 * delta, SMALLEST_RAMP), INTERPOLATED=interpolated, SORTING=sorting,
            BUCKETED=bucketed, BITS=bits, NUM_STEPS=num_steps,
            BLOCK=min(SCAN_BLOCK, triton.next_power_of_2(2 * room)), num_warps=8,
        )  # fmt: skip
        kernels.write_ranking_gradient[blocks](
            logits, targets, counters, marks, means if bucketed else heights, slopes, gradients, is_valid,
            *strides, num_rows, DELTA=delta, BUCKETED=bucketed, NUM_STEPS=num_steps, BLOCK=BLOCK,
        )  # fmt: skip
    torch._assert_async(is_valid, f"one of these: {LOGITS_MESSAGE}; {TARGETS_MESSAGE}; {POSITIVES_MESSAGE}")


def _rooms(make: Callable[..., Tensor], dtype: torch.dtype, num_rows: int, sizes: list[int]) -> tuple[Tensor, ...]:
    """Room for so many numbers a row, out of one piece of memory."""
    rooms: tuple[Tensor, ...] = make(num_rows * sum(sizes), dtype=dtype).split([num_rows * size for size in sizes])
    return rooms
