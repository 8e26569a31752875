from __future__ import annotations

import oracle
import pytest
import torch
from hypothesis import assume, given
from problems import Problem, problems

from brs_detr.losses.examples import split_examples
from brs_detr.losses.negatives import bucket_negatives


@given(problems())
def test_buckets_are_those_of_the_sorted_walk(problem: Problem) -> None:
    assume((problem.targets > 0).any())
    groups = bucket_negatives(split_examples(problem.logits, problem.targets), problem.delta)
    expected = oracle.buckets(*problem)
    members = [
        sorted((groups.members.bool() & (groups.group_inds == group)).nonzero().flatten().tolist())
        for group in range(len(groups.sizes))
    ]
    assert sorted(filter(None, members)) == sorted(sorted(bucket) for bucket in expected)
    assert groups.sizes.tolist() == [len(bucket) for bucket in members]
    for logit, bucket in zip(groups.logits, members, strict=True):
        if bucket:
            torch.testing.assert_close(logit, problem.logits[bucket].mean(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", range(1, 50))
def test_a_bucket_of_negatives_tied_with_a_positive_stands_exactly_at_it(count: int) -> None:
    """At delta 0 a mean that is off by rounding would not count at all; three times 0.1, by three, is not 0.1."""
    logits = torch.full((count + 1,), 0.1, dtype=torch.float64)
    targets = torch.zeros(count + 1)
    targets[count // 2] = 1
    groups = bucket_negatives(split_examples(logits, targets), 0.0)
    assert groups.logits[0].item() == 0.1
    assert groups.sizes.tolist() == [count, 0]


def test_values_are_spread_over_members_only() -> None:
    """Members are a negative above and one below the positive; one far below, the positive, an ignored one are not."""
    logits, targets = torch.tensor([2.0, 1.0, 0.0, -9.0, 3.0]), torch.tensor([0.0, 0.5, 0.0, 0.0, -1.0])
    groups = bucket_negatives(split_examples(logits, targets), 1.0)
    assert groups.spread(groups.logits + 10).tolist() == [12, 0, 10, 0, 0]
