from __future__ import annotations

import oracle
import pytest
import torch
from hypothesis import assume, given
from problems import Problem, problems

from brs_detr.losses import bucketed_ap_loss
from brs_detr.losses.cpu.ranking import BucketedNegatives
from brs_detr.losses.cpu.rows import Row, split_row
from brs_detr.losses.cpu.steps import Ramps


def in_buckets(row: Row, delta: float) -> BucketedNegatives:
    ramps = Ramps(row.positives, delta)
    return BucketedNegatives(row.negatives, row.positives, ramps, delta)


def members_by_bucket(row: Row, buckets: BucketedNegatives) -> list[list[int]]:
    """Return the indices of the negatives in each bucket, in order."""
    inds = torch.arange(len(buckets.inds)) if row.negative_inds is None else row.negative_inds
    return [sorted(inds[buckets.inds == bucket].tolist()) for bucket in range(1, len(buckets.sizes))]


@given(problems())
def test_buckets_are_those_of_the_sorted_walk(problem: Problem) -> None:
    assume((problem.targets > 0).any())
    row = split_row(*problem)
    buckets = in_buckets(row, problem.delta)
    expected = oracle.buckets(*problem)
    members = members_by_bucket(row, buckets)
    assert sorted(filter(None, members)) == sorted(sorted(bucket) for bucket in expected)
    assert buckets.sizes[1:].tolist() == [len(bucket) for bucket in members]
    middle = problem.logits[row.positive_inds][0] - row.positives[0]
    for logit, bucket in zip(buckets.logits[1:], members, strict=True):
        if bucket:
            torch.testing.assert_close(logit + middle, problem.logits[bucket].mean(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", range(1, 50))
def test_a_bucket_of_negatives_tied_with_a_positive_stands_exactly_at_it(count: int) -> None:
    """At delta 0 a mean with a rounding error would not count at all; three times 0.1, divided by three, is not 0.1."""
    logits = torch.full((count + 1,), 0.1, dtype=torch.float64)
    targets = torch.zeros(count + 1)
    targets[count // 2] = 1
    row = split_row(logits, targets, 0.0)
    buckets = in_buckets(row, 0.0)
    assert buckets.logits[1].item() == row.positives[0].item()
    assert buckets.sizes[1:].tolist() == [count, 0]


@pytest.mark.parametrize("num_far_below", [1, 4])
def test_members_alone_receive(num_far_below: int) -> None:
    """Members are a negative above and two below the positive; one far below, the positive, an ignored one are not.

    With few far below the whole row is looked at, with more of them the members are gathered.
    """
    logits = torch.tensor([2.0, 1.0, 0.0, 3.0, 0.5] + [-9.0] * num_far_below)
    targets = torch.tensor([0.0, 0.5, 0.0, -1.0, 0.0] + [0.0] * num_far_below)
    row = split_row(logits, targets, 1.0)
    assert (row.negative_inds is None) == (num_far_below == 1)
    buckets = in_buckets(row, 1.0)
    assert members_by_bucket(row, buckets) == [[2, 4], [0]]
    assert buckets.sizes[1:].tolist() == [2, 1]
    assert (buckets.logits[1:] - row.positives[0]).tolist() == [-0.75, 1]
    received = buckets.share_out(torch.ones(1, dtype=torch.float64))
    assert received[buckets.inds == 2].tolist() == [1] and received[buckets.inds == 1].tolist() == [0.125, 0.125]
    leaf = logits.requires_grad_()
    bucketed_ap_loss(leaf, targets, 1.0).backward()
    assert leaf.grad.nonzero().flatten().tolist() == [0, 1, 2, 4]
