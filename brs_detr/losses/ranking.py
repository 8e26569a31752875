"""The ranking error, shared by the AP and RS losses."""

from __future__ import annotations

import torch

from brs_detr.losses.examples import Examples
from brs_detr.losses.identity_update import Term
from brs_detr.losses.negatives import NegativeGroups
from brs_detr.losses.step import StepMatrix


def ranking_term(examples: Examples, negatives: NegativeGroups, delta: float, *, interpolated: bool = False) -> Term:
    """Share of false positives among all that is ranked above a positive, averaged over the positives.

    For positive i, negatives j of N and positives k of P (AP Loss, CVPR 2019; RS Loss, ICCV 2021)::

        num_false_positives(i) = sum_j H(s_j - s_i)
        rank(i)                = sum_k H(s_k - s_i) + num_false_positives(i)
        error(i)               = num_false_positives(i) / rank(i)

    With buckets the first sum runs over buckets, each weighted by its size (BRS, ECCV 2024, Eq. 13 and 14). By Identity
    Update (RS Loss) a positive receives ``-error(i) / P``, and the same amount is handed to the negatives above it in
    proportion to their step.

    Args:
        examples: with at least one positive.
        negatives: one by one or in buckets.
        delta: half the length of the step's ramp.
        interpolated: take the smallest error among the positives ranked no higher (the running maximum of precision),
            and count the positive itself as 1 rather than H(0).
    """
    positives, num_positives = examples.positives, examples.positives.numel()
    steps = StepMatrix(negatives.logits, positives, delta)
    num_false_positives = steps.sum_over_points(negatives.sizes)  # [P]
    rank = StepMatrix(positives, positives, delta).sum_over_points(torch.ones_like(positives)) + num_false_positives
    if interpolated and delta > 0:
        rank = rank + 0.5
    error = num_false_positives / rank
    if interpolated:
        error = error.cummin(0).values  # ascending in logits
    shares = torch.where(num_false_positives > 0, error / num_false_positives, 0)
    gradient = negatives.spread(steps.sum_over_centres(shares))  # [N]
    gradient[examples.positive_inds] = -error
    return Term(error.mean(), gradient / num_positives)
