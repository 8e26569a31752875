"""The ranking error, shared by the AP and RS losses."""

from __future__ import annotations

from torch import Tensor

from brs_detr.losses.negatives import Negatives


def rank_positives(
    negatives: Negatives, num_above: Tensor, delta: float, *, interpolated: bool = False
) -> tuple[Tensor, Tensor]:
    """Share of false positives among all that is ranked above a positive.

    For positive i, negatives j of N and positives k of P (AP Loss, CVPR 2019; RS Loss, ICCV 2021)::

        num_false_positives(i) = sum_j H(s_j - s_i)
        rank(i)                = sum_k H(s_k - s_i) + num_false_positives(i)
        error(i)               = num_false_positives(i) / rank(i)

    With buckets the first sum runs over buckets, each weighted by its size (BRS, ECCV 2024, Eq. 13 and 14). By Identity
    Update (RS Loss) a positive receives ``-error(i)``, and the same amount is handed to the negatives above it in
    proportion to their step.

    Args:
        negatives: one by one or in buckets.
        num_above: float64 [P], the sum over k above; positives in ascending order of their logits.
        delta: half the length of the step's ramp.
        interpolated: take the smallest error among the positives ranked no higher (the running maximum of precision),
            and count the positive itself as 1 rather than H(0).

    Returns:
        Error of each positive [P], and what each of the M negatives receives of their mean [M].
    """
    num_false_positives = negatives.count_above()
    rank = num_above + num_false_positives
    if interpolated and delta > 0:
        rank += 0.5
    error = num_false_positives / rank
    if interpolated:
        error = error.cummin(0).values
    shares = quotient_or_zero(error, num_false_positives).div_(len(error))
    return error, negatives.collect(shares)


def quotient_or_zero(error: Tensor, count: Tensor) -> Tensor:
    """Divide an error [P] among those that are to blame for it; zero where there are none."""
    return (error / count).nan_to_num_(0, posinf=0)
