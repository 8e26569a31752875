"""Triton kernels of the ranking losses, in the order in which `brs_detr.losses.cuda.launch` launches them.

Every kernel runs on a grid of (blocks, rows). The number of positives P of a row is known only on the device: buffers
for positives have a capacity of K, and a block that starts beyond P returns at once.

Sums over negatives (counts, and offsets in fixed point) are atomic additions of integers, so neither the order nor the
number of blocks changes the result. Tensors of size P are float64. Pairs of positives are compared in ``COMPUTE``, the
dtype of the logits but at least float32, since only their difference counts.

``DELTA`` is a compile-time constant: a run has only one, and Triton would pass it as float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

MOST_COPIES: tl.constexpr = tl.constexpr(32)  # of the sums over negatives, to spread out the atomic additions


@triton.jit
def collect_positives(
    logits, targets, counters, found_logits, found_quality, found_inds, num_logits, targets_stride, capacity,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Collect logits, quality and indices of the positives of each row, in any order."""
    row = tl.program_id(1).to(tl.int64)
    columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    target = tl.load(targets + row * targets_stride + columns, mask=columns < num_logits, other=0).to(tl.float64)
    is_positive = target > 0
    order = tl.cumsum(is_positive.to(tl.int32), 0)
    count = tl.max(order, 0)
    if count > 0:
        slot = tl.atomic_add(counters + 2 * row, count.to(tl.int64)) + order - 1
        keeps = is_positive & (slot < capacity)
        logit = tl.load(logits + row * num_logits + columns, mask=keeps, other=0).to(tl.float64)
        logit = tl.where(logit == logit, logit, 0.0)  # count_negatives reports NaN
        tl.store(found_logits + row * capacity + slot, logit, mask=keeps)
        tl.store(found_quality + row * capacity + slot, tl.minimum(target, 1.0), mask=keeps)
        tl.store(found_inds + row * capacity + slot, columns, mask=keeps)


@triton.jit
def order_positives(
    counters, found_logits, found_quality, found_inds, positives, quality, inds, capacity, BLOCK: tl.constexpr
):
    """Sort the positives by logit, then by index. Each counts those before it."""
    row = tl.program_id(1).to(tl.int64)
    num_positives = _num_positives(counters, row, capacity)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if tl.program_id(0) * BLOCK < num_positives:
        found_logits += row * capacity
        found_inds += row * capacity
        is_mine = i < num_positives
        logit = tl.load(found_logits + i, mask=is_mine, other=0)
        ind = tl.load(found_inds + i, mask=is_mine, other=0)
        index = tl.zeros([BLOCK], tl.int32)
        for start in range(0, num_positives, BLOCK):
            j = start + tl.arange(0, BLOCK)
            other = tl.load(found_logits + j, mask=j < num_positives, other=float("inf"))[None, :]
            other_ind = tl.load(found_inds + j, mask=j < num_positives, other=0)[None, :]
            is_before = (other < logit[:, None]) | ((other == logit[:, None]) & (other_ind < ind[:, None]))
            index += tl.sum(is_before.to(tl.int32), 1)
        tl.store(positives + row * capacity + index, logit, mask=is_mine)
        found = tl.load(found_quality + row * capacity + i, mask=is_mine)
        tl.store(quality + row * capacity + index, found, mask=is_mine)
        tl.store(inds + row * capacity + index, ind, mask=is_mine)


@triton.jit
def relate_positives(
    counters, positives, quality, ends, owners, end_inds, num_above, sorting_errors, sorting_shares, capacity,
    DELTA: tl.constexpr, SORTING: tl.constexpr, COMPUTE: tl.constexpr, NUM_STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute how many are above each positive, its sorting error, and where its ramp's ends are among all ends.

    ``ends`` [2K] are float64, ascending; ``owners`` [2K] are ``2 i`` where the ramp of positive i begins and
    ``2 i + 1`` where it ends; ``end_inds`` [2, K] are the inverse.
    """
    row = tl.program_id(1).to(tl.int64)
    num_positives = _num_positives(counters, row, capacity)
    start_i = tl.program_id(0) * BLOCK
    if start_i < num_positives:
        positives += row * capacity
        quality += row * capacity
        i = start_i + tl.arange(0, BLOCK)
        is_mine = i < num_positives
        centre = tl.load(positives + i, mask=is_mine, other=0)

        begin, end = centre - DELTA, centre + DELTA
        lower = i + _count_below(positives, num_positives, begin, DELTA, False, NUM_STEPS)
        upper = i + _count_below(positives, num_positives, end, -DELTA, True, NUM_STEPS)
        ends += row * 2 * capacity
        owners += row * 2 * capacity
        end_inds += row * 2 * capacity
        tl.store(ends + lower, begin, mask=is_mine)
        tl.store(ends + upper, end, mask=is_mine)
        tl.store(owners + lower, 2 * i, mask=is_mine)
        tl.store(owners + upper, 2 * i + 1, mask=is_mine)
        tl.store(end_inds + i, lower, mask=is_mine)
        tl.store(end_inds + capacity + i, upper, mask=is_mine)

        own_quality = tl.load(quality + i, mask=is_mine, other=0)[:, None]
        above = tl.zeros([BLOCK], tl.float64)
        defect_above, worse, defect_worse = above, above, above
        lowest = tl.load(positives + start_i) - DELTA
        for start in range(0, num_positives, BLOCK):
            if tl.load(positives + tl.minimum(start + BLOCK, num_positives) - 1) >= lowest:
                j = start + tl.arange(0, BLOCK)
                point = tl.load(positives + j, mask=j < num_positives, other=float("-inf"))
                steps = _step((point[None, :] - centre[:, None]).to(COMPUTE), DELTA)
                above += tl.sum(steps, 1)
                if SORTING:
                    other_quality = tl.load(quality + j, mask=j < num_positives, other=1.0)[None, :]
                    defect = (1 - other_quality).to(COMPUTE)
                    steps_of_worse = tl.where(other_quality < own_quality, steps, 0)
                    defect_above += tl.sum(steps * defect, 1)
                    worse += tl.sum(steps_of_worse, 1)
                    defect_worse += tl.sum(steps_of_worse * defect, 1)
        tl.store(num_above + row * capacity + i, above, mask=is_mine)
        if SORTING:
            target_error = (defect_above - defect_worse) / (above - worse)
            error = tl.maximum(defect_above / above - target_error, 0.0)
            tl.store(sorting_errors + row * capacity + i, error, mask=is_mine)
            tl.store(sorting_shares + row * capacity + i, _quotient_or_zero(error, worse), mask=is_mine)


@triton.jit
def write_sorting_gradient(
    counters, positives, quality, inds, sorting_errors, sorting_shares, gradient, num_logits, capacity,
    DELTA: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the sorting gradient of each positive: shares of the errors of better ones below, minus its own error."""
    row = tl.program_id(1).to(tl.int64)
    num_positives = _num_positives(counters, row, capacity)
    start_j = tl.program_id(0) * BLOCK
    if start_j < num_positives:
        positives += row * capacity
        quality += row * capacity
        j = start_j + tl.arange(0, BLOCK)
        is_mine = j < num_positives
        point = tl.load(positives + j, mask=is_mine, other=0)
        own_quality = tl.load(quality + j, mask=is_mine, other=1.0)[:, None]
        received = tl.zeros([BLOCK], tl.float64)
        highest = tl.load(positives + tl.minimum(start_j + BLOCK, num_positives) - 1) + DELTA
        for start in range(0, num_positives, BLOCK):
            if tl.load(positives + start) <= highest:
                i = start + tl.arange(0, BLOCK)
                centre = tl.load(positives + i, mask=i < num_positives, other=float("inf"))
                other_quality = tl.load(quality + i, mask=i < num_positives, other=0.0)[None, :]
                share = tl.load(sorting_shares + row * capacity + i, mask=i < num_positives, other=0).to(COMPUTE)
                steps = _step((point[:, None] - centre[None, :]).to(COMPUTE), DELTA)
                received += tl.sum(tl.where(own_quality < other_quality, steps * share[None, :], 0), 1)
        error = tl.load(sorting_errors + row * capacity + j, mask=is_mine, other=0)
        ind = tl.load(inds + row * capacity + j, mask=is_mine, other=0)
        tl.store(gradient + row * num_logits + ind, (received - error) / num_positives, mask=is_mine)


@triton.jit
def count_negatives(
    logits, targets, counters, marks, sums, num_logits, targets_stride, capacity, slots,
    DELTA: tl.constexpr, BUCKETED: tl.constexpr, BITS: tl.constexpr, NUM_STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Make a first pass over the negatives: count them by segment and sum their offsets in it.

    ``marks`` are the 2 P ends of ramps or, for buckets, the P positives; ``sums`` [2, slots] are the counts and the
    summed offsets, in as many copies as fit.
    """
    row = tl.program_id(1).to(tl.int64)
    num_positives = _num_positives(counters, row, capacity)
    columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_here = columns < num_logits
    logit = tl.load(logits + row * num_logits + columns, mask=is_here, other=0).to(tl.float64)
    target = tl.load(targets + row * targets_stride + columns, mask=is_here, other=0).to(tl.float64)
    is_valid = (tl.abs(logit) < float("inf")) & (((target >= 0) & (target <= 1.001)) | (target == -1))
    num_invalid = tl.sum((is_valid == 0).to(tl.int32), 0)
    if num_invalid > 0:
        tl.atomic_add(counters + 2 * row + 1, num_invalid.to(tl.int64))
    if num_positives > 0:
        segment, offset = _locate(marks, logit, num_positives, row, capacity, num_logits, DELTA, BUCKETED, NUM_STEPS)
        counts = is_here & (target == 0) & (offset >= 0)
        if BUCKETED:
            offset = tl.ceil(offset * (1 << BITS))  # a bucket stands at a positive only if all its members do
        else:
            offset = offset * (1 << BITS)
        copy = tl.program_id(0) % _num_copies(num_positives, slots)
        sums += row * 2 * slots + copy * (2 * num_positives + 1)
        tl.atomic_add(sums + segment, 1, mask=counts)
        tl.atomic_add(sums + slots + segment, offset.to(tl.int64), mask=counts & (offset > 0))


@triton.jit
def count_buckets(
    counters, positives, ends, bucket_sums, sums, sizes, means, num_logits, capacity, slots,
    DELTA: tl.constexpr, BITS: tl.constexpr, NUM_STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute the mean of each bucket and count it by segment, as `count_negatives` does for single negatives."""
    row = tl.program_id(1).to(tl.int64)
    num_positives = _num_positives(counters, row, capacity)
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if (num_positives > 0) & (tl.program_id(0) * BLOCK <= num_positives):
        is_mine = k <= num_positives
        num_copies = _num_copies(num_positives, slots)
        size, offset = _sum_copies(bucket_sums + row * 2 * slots, k, num_positives, num_copies, slots, is_mine)
        anchor, unit = _bucket_frame(positives + row * capacity, k, num_positives, num_logits, DELTA)
        mean = anchor + unit * (offset.to(tl.float64) / (1 << BITS) / tl.maximum(size, 1))
        tl.store(sizes + row * (capacity + 1) + k, size, mask=is_mine)
        tl.store(means + row * (capacity + 1) + k, mean, mask=is_mine)
        segment, offset = _locate(ends, mean, num_positives, row, capacity, num_logits, DELTA, False, NUM_STEPS)
        counts = is_mine & (offset >= 0) & (size > 0)
        sums += row * 2 * slots
        tl.atomic_add(sums + segment, size, mask=counts)
        tl.atomic_add(sums + slots + segment, (size * offset * (1 << BITS)).to(tl.int64), mask=counts)


@triton.jit
def rank_positives(
    counters, inds, ends, owners, end_inds, num_above, sorting_errors, sums, num_found, areas, travelled, shares, jumps,
    sizes, means, values, gradient, num_logits, capacity, slots, num_rows,
    DELTA: tl.constexpr, RAMP: tl.constexpr, INTERPOLATED: tl.constexpr, SORTING: tl.constexpr, BUCKETED: tl.constexpr,
    BITS: tl.constexpr, NUM_STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute ranking errors from the sums by segment, and the gradient of a negative as a line over each segment.

    One block per row walks the segments: downwards to sum what is above each end, upwards to sum the ramps. See
    `brs_detr.losses.cpu.steps.StepMatrix` for the mathematics. Height and slope of the lines overwrite ``areas`` and
    ``num_found``; the gradients of buckets overwrite ``means``.
    """
    row = tl.program_id(1).to(tl.int64)
    num_positives = _num_positives(counters, row, capacity)
    num_ends = 2 * num_positives
    inds += row * capacity
    ends += row * 2 * capacity
    owners += row * 2 * capacity
    end_inds += row * 2 * capacity
    num_above += row * capacity
    sums += row * 2 * slots
    num_found += row * (2 * capacity + 1)
    areas += row * (2 * capacity + 1)
    travelled += row * 2 * capacity
    shares += row * capacity
    jumps += row * capacity
    gradient += row * num_logits
    lanes = tl.arange(0, BLOCK)
    zero = tl.sum(tl.zeros([BLOCK], tl.float64), 0)

    distance = zero
    for start in range(0, num_ends, BLOCK):
        k = start + lanes
        length = _length(ends, k, num_ends, RAMP)
        tl.store(travelled + k, distance + tl.cumsum(length, 0) - length, mask=k < num_ends)
        distance += tl.sum(length, 0)

    num_copies = 1 if BUCKETED else _num_copies(num_positives, slots)
    above, area = zero, zero
    for step in range(0, tl.cdiv(num_ends, BLOCK)):
        k = (tl.cdiv(num_ends, BLOCK) - 1 - step) * BLOCK + lanes
        found, offset_sum = _sum_copies(sums, k + 1, num_positives, num_copies, slots, k < num_ends)
        found = found.to(tl.float64)
        at_or_above = above + tl.cumsum(found, 0, reverse=True)
        part = offset_sum.to(tl.float64) / (1 << BITS) + _length(ends, k, num_ends, RAMP) * (at_or_above - found)
        tl.store(num_found + k, at_or_above, mask=k < num_ends)
        tl.store(areas + k, area + tl.cumsum(part, 0, reverse=True), mask=k < num_ends)
        above += tl.sum(found, 0)
        area += tl.sum(part, 0)
    tl.debug_barrier()

    ranking_loss, sorting_loss, best = zero, zero, zero + float("inf")
    for start in range(0, num_positives, BLOCK):
        i = start + lanes
        is_mine = i < num_positives
        lower = tl.load(end_inds + i, mask=is_mine, other=0)
        upper = tl.load(end_inds + capacity + i, mask=is_mine, other=0)
        jump = 1 - (tl.load(travelled + upper) - tl.load(travelled + lower))
        false_positives = tl.load(areas + lower) - tl.load(areas + upper) + jump * tl.load(num_found + upper)
        false_positives = tl.maximum(false_positives, 0.0)
        rank = tl.load(num_above + i, mask=is_mine, other=1) + false_positives
        if INTERPOLATED and DELTA > 0:
            rank += 0.5
        error = tl.where(is_mine, false_positives / rank, float("inf"))
        if INTERPOLATED:
            error = tl.minimum(tl.associative_scan(error, 0, _minimum), best)
            best = tl.min(error, 0)
        share = _quotient_or_zero(error, false_positives)
        tl.store(shares + i, share, mask=is_mine)
        tl.store(jumps + i, share * jump, mask=is_mine)
        ind = tl.load(inds + i, mask=is_mine, other=0)
        tl.store(gradient + ind, -error / num_positives, mask=is_mine)
        ranking_loss += tl.sum(tl.where(is_mine, error, 0), 0)
        if SORTING:
            sorting_loss += tl.sum(tl.load(sorting_errors + row * capacity + i, mask=is_mine, other=0), 0)
    tl.store(values + row, ranking_loss / tl.maximum(num_positives, 1))
    if SORTING:
        tl.store(values + num_rows + row, sorting_loss / tl.maximum(num_positives, 1))
    tl.debug_barrier()

    height, slope = zero, zero
    tl.store(areas, zero)
    tl.store(num_found, zero)
    for start in range(0, num_ends, BLOCK):
        k = start + lanes
        owner = tl.load(owners + k, mask=k < num_ends, other=0)
        is_end = owner % 2
        share = tl.load(shares + owner // 2, mask=k < num_ends, other=0)
        jump = tl.load(jumps + owner // 2, mask=(k < num_ends) & (is_end == 1), other=0)
        slopes = slope + tl.cumsum(share * (1 - 2 * is_end), 0)
        rise = slopes * _length(ends, k, num_ends, RAMP)
        heights = height + tl.cumsum(rise + jump, 0) - rise
        tl.store(areas + k + 1, heights, mask=k < num_ends)
        tl.store(num_found + k + 1, slopes, mask=k < num_ends)
        slope += tl.sum(share * (1 - 2 * is_end), 0)
        height += tl.sum(rise + jump, 0)

    if BUCKETED:
        tl.debug_barrier()
        ends -= row * 2 * capacity
        for start in range(0, num_positives + 1, BLOCK):
            k = start + lanes
            mean = tl.load(means + row * (capacity + 1) + k, mask=k <= num_positives, other=0)
            segment, offset = _locate(ends, mean, num_positives, row, capacity, num_logits, DELTA, False, NUM_STEPS)
            received = tl.load(areas + segment) + tl.load(num_found + segment) * tl.maximum(offset, 0.0)
            tl.store(means + row * (capacity + 1) + k, received, mask=k <= num_positives)


@triton.jit
def write_ranking_gradient(
    logits, targets, counters, marks, heights, slopes, gradient, is_valid,
    num_logits, targets_stride, capacity, num_rows,
    DELTA: tl.constexpr, BUCKETED: tl.constexpr, NUM_STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Make a second pass over the negatives: look up the gradient of each. Those of positives are already written.

    The first block also reports whether all input was valid.
    """
    row = tl.program_id(1).to(tl.int64)
    num_positives = _num_positives(counters, row, capacity)
    columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_here = columns < num_logits
    target = tl.load(targets + row * targets_stride + columns, mask=is_here, other=0).to(tl.float64)
    received = tl.zeros([BLOCK], tl.float64)
    if num_positives > 0:
        logit = tl.load(logits + row * num_logits + columns, mask=is_here, other=0).to(tl.float64)
        segment, offset = _locate(marks, logit, num_positives, row, capacity, num_logits, DELTA, BUCKETED, NUM_STEPS)
        receives = is_here & (target == 0) & (offset >= 0)
        if BUCKETED:
            received = tl.load(heights + row * (capacity + 1) + segment, mask=receives, other=0)
        else:
            line = row * (2 * capacity + 1) + segment
            height = tl.load(heights + line, mask=receives, other=0)
            received = height + tl.load(slopes + line, mask=receives, other=0) * offset
        received = tl.where(receives, tl.maximum(received, 0.0) / num_positives, 0)
    tl.store(gradient + row * num_logits + columns, received, mask=is_here & ((target > 0) == 0))
    if (tl.program_id(0) == 0) & (row == 0):
        faults = 0
        for other_row in range(0, num_rows):
            faults += (tl.load(counters + 2 * other_row + 1) > 0) | (tl.load(counters + 2 * other_row) > capacity)
        tl.store(is_valid, faults == 0)


@triton.jit
def _num_positives(counters, row, capacity):
    return tl.minimum(tl.load(counters + 2 * row), capacity).to(tl.int32)


@triton.jit
def _step(difference, DELTA: tl.constexpr):
    if DELTA > 0:
        steepness: tl.constexpr = 0.5 / DELTA if DELTA > 1e-30 else 5e29
        step = tl.minimum(tl.maximum(difference * steepness + 0.5, 0.0), 1.0)
    else:
        step = (difference >= 0).to(difference.dtype)
    return step


@triton.jit
def _quotient_or_zero(error, count):
    return tl.where(count > 0, error / tl.where(count > 0, count, 1.0), 0.0)


@triton.jit
def _minimum(a, b):
    return tl.minimum(a, b)


@triton.jit
def _count_below(values, count, points, SHIFT: tl.constexpr, OR_EQUAL: tl.constexpr, NUM_STEPS: tl.constexpr):
    """Count the sorted ``values + SHIFT`` that are below each point, with ``OR_EQUAL`` also those equal to it."""
    below = tl.zeros(points.shape, tl.int32)
    for step in tl.static_range(NUM_STEPS):
        index = below + (1 << (NUM_STEPS - 1 - step))
        value = tl.load(values + index - 1, mask=index <= count, other=float("inf")) + SHIFT
        if OR_EQUAL:
            below = tl.where(value <= points, index, below)
        else:
            below = tl.where(value < points, index, below)
    return below


@triton.jit
def _locate(
    marks, logit, num_positives, row, capacity, num_logits,
    DELTA: tl.constexpr, BUCKETED: tl.constexpr, NUM_STEPS: tl.constexpr,
):  # fmt: skip
    """Return the segment of each logit and its offset in it, in [0, 1]; the offset is -1 below every ramp."""
    if BUCKETED:
        marks += row * capacity
        segment = _count_below(marks, num_positives, logit, 0.0, False, NUM_STEPS)
        anchor, unit = _bucket_frame(marks, segment, num_positives, num_logits, DELTA)
        offset = tl.minimum((logit - anchor) / unit, 1.0)
        offset = tl.where(logit >= tl.load(marks) - DELTA, offset, -1.0)
    else:
        marks += row * 2 * capacity
        segment = _count_below(marks, 2 * num_positives, logit, 0.0, True, NUM_STEPS)
        begin = tl.load(marks + tl.maximum(segment - 1, 0))
        if DELTA > 0:
            steepness: tl.constexpr = 0.5 / DELTA if DELTA > 1e-300 else 5e299
            offset = tl.minimum((logit - begin) * steepness, 1.0)
        else:
            offset = (logit > begin).to(tl.float64)
        offset = tl.where(segment > 0, tl.maximum(offset, 0.0), -1.0)
    return segment, offset


@triton.jit
def _bucket_frame(positives, bucket, num_positives, num_logits, DELTA: tl.constexpr):
    """Return the logit that a bucket's offsets start from, and the signed length of offset 1.

    Offsets go from the positive above down to the one below. In the highest bucket they go up from the highest
    positive, no further than where one member lifts the mean above every ramp.
    """
    anchor = tl.load(positives + tl.minimum(bucket, num_positives - 1))
    below = tl.load(positives + tl.maximum(tl.minimum(bucket, num_positives - 1) - 1, 0))
    reach = DELTA if DELTA > 0 else 1.0
    unit = tl.where(bucket == 0, -reach, below - anchor)
    unit = tl.where(bucket == num_positives, 2 * reach * num_logits, unit)
    return anchor, unit


@triton.jit
def _length(ends, k, num_ends, RAMP: tl.constexpr):
    """Return the length of the segment that starts at each end, in ramps and at most 1; 0 for the last."""
    begin = tl.load(ends + k, mask=k < num_ends, other=0)
    end = tl.load(ends + k + 1, mask=k + 1 < num_ends, other=0)
    return tl.where(k + 1 < num_ends, tl.minimum((end - begin) / RAMP, 1.0), 0.0)


@triton.jit
def _num_copies(num_positives, slots):
    return tl.maximum(tl.minimum(slots // (2 * num_positives + 1), MOST_COPIES), 1)


@triton.jit
def _sum_copies(sums, segment, num_positives, num_copies, slots, mask):
    """Sum the counts and offsets [BLOCK] of segments over all copies."""
    num_segments = 2 * num_positives + 1
    count = tl.zeros(segment.shape, tl.int64)
    offset_sum = count
    for copy in range(0, num_copies):
        index = copy * num_segments + segment
        count += tl.load(sums + index, mask=mask, other=0)
        offset_sum += tl.load(sums + slots + index, mask=mask, other=0)
    return count, offset_sum
