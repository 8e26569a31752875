from __future__ import annotations

import oracle
import pytest
import torch
from hypothesis import assume, given
from problems import Problem, problems

from brs_detr.losses import bucketed_ap_loss
from brs_detr.losses.examples import Examples, split_examples
from brs_detr.losses.negatives import BucketedNegatives
from brs_detr.losses.step import Ramps


def in_buckets(examples: Examples, delta: float) -> BucketedNegatives:
    return BucketedNegatives(examples.negatives, examples.positives, Ramps(examples.positives, delta))


@given(problems())
def test_buckets_are_those_of_the_sorted_walk(problem: Problem) -> None:
    assume((problem.targets > 0).any())
    examples = split_examples(*problem)
    buckets = in_buckets(examples, problem.delta)
    expected = oracle.buckets(*problem)
    members = [sorted(examples.negative_inds[buckets.inds == bucket].tolist()) for bucket in range(len(buckets.sizes))]
    assert sorted(filter(None, members)) == sorted(sorted(bucket) for bucket in expected)
    assert buckets.sizes.tolist() == [len(bucket) for bucket in members]
    middle = problem.logits[examples.positive_inds][0] - examples.positives[0]
    for logit, bucket in zip(buckets.logits, members, strict=True):
        if bucket:
            torch.testing.assert_close(logit + middle, problem.logits[bucket].mean(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", range(1, 50))
def test_a_bucket_of_negatives_tied_with_a_positive_stands_exactly_at_it(count: int) -> None:
    """At delta 0 a mean that is off by rounding would not count at all; three times 0.1, by three, is not 0.1."""
    logits = torch.full((count + 1,), 0.1, dtype=torch.float64)
    targets = torch.zeros(count + 1)
    targets[count // 2] = 1
    examples = split_examples(logits, targets, 0.0)
    buckets = in_buckets(examples, 0.0)
    assert buckets.logits[0].item() == examples.positives[0].item()
    assert buckets.sizes.tolist() == [count, 0]


def test_members_alone_receive() -> None:
    """Members are a negative above and one below the positive; one far below, the positive, an ignored one are not."""
    logits, targets = torch.tensor([2.0, 1.0, 0.0, -9.0, 3.0]), torch.tensor([0.0, 0.5, 0.0, 0.0, -1.0])
    examples = split_examples(logits, targets, 1.0)
    assert examples.negative_inds.tolist() == [0, 2]
    buckets = in_buckets(examples, 1.0)
    assert buckets.sizes.tolist() == [1, 1] and (examples.positives[0] + buckets.logits).tolist() == [-1, 1]
    assert buckets.collect(torch.ones(1, dtype=torch.float64)).tolist() == [1, 0]
    leaf = logits.requires_grad_()
    bucketed_ap_loss(leaf, targets, 1.0).backward()
    assert leaf.grad.ne(0).tolist() == [True, True, False, False, False]
