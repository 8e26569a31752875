"""The losses exactly as their equations state them: one positive at a time, pair by pair. Slow and obvious."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Reference(NamedTuple):
    value: float
    gradient: Tensor


def heaviside(difference: Tensor, delta: float) -> Tensor:
    if delta == 0:
        return (difference >= 0).double()
    return torch.clamp(difference / (2 * delta) + 0.5, 0, 1)


def places(targets: Tensor) -> tuple[list[int], list[int]]:
    positives = [i for i, target in enumerate(targets.tolist()) if target > 0]
    negatives = [j for j, target in enumerate(targets.tolist()) if target == 0]
    return positives, negatives


def buckets(logits: Tensor, targets: Tensor, delta: float) -> list[list[int]]:
    """Walk down the sorted logits, positives first among equals, and start a new bucket at each positive."""
    positives, negatives = places(targets)
    threshold = min(logits[i].item() for i in positives) - delta
    walk = positives + [j for j in negatives if logits[j].item() >= threshold]
    found: list[list[int]] = [[]]
    for k in sorted(walk, key=lambda k: -logits[k].item()):
        if targets[k] > 0:
            found.append([])
        else:
            found[-1].append(k)
    return [bucket for bucket in found if bucket]


def ranking(
    logits: Tensor, targets: Tensor, delta: float, *, bucketed: bool = False, interpolated: bool = False
) -> Reference:
    positives, negatives = places(targets)
    gradient = torch.zeros_like(logits)
    if not positives:
        return Reference(0.0, gradient)
    groups = buckets(logits, targets, delta) if bucketed else [[j] for j in negatives]
    stand_ins = torch.tensor([logits[group].mean() for group in groups]).to(logits)
    sizes = torch.tensor([len(group) for group in groups]).to(logits)

    errors = []
    best = float("inf")
    for i in sorted(positives, key=lambda i: logits[i].item()):
        num_false_positives = (sizes * heaviside(stand_ins - logits[i], delta)).sum().item()
        rank = heaviside(logits[positives] - logits[i], delta).sum().item() + num_false_positives
        if interpolated and delta > 0:
            rank += 0.5
        error = num_false_positives / rank
        best = min(best, error)
        error = best if interpolated else error
        errors.append(error)
        gradient[i] -= error
        if num_false_positives > 0:
            for group, share in zip(groups, heaviside(stand_ins - logits[i], delta) / num_false_positives, strict=True):
                gradient[group] += share * error
    return Reference(sum(errors) / len(positives), gradient / len(positives))


def sorting(logits: Tensor, targets: Tensor, delta: float) -> Reference:
    positives, _ = places(targets)
    gradient = torch.zeros_like(logits)
    if not positives:
        return Reference(0.0, gradient)
    quality = targets[positives]
    errors = []
    for i in positives:
        above = heaviside(logits[positives] - logits[i], delta)
        is_worse = quality < targets[i]
        current = (above * (1 - quality)).sum() / above.sum()
        target = (above * (1 - quality))[~is_worse].sum() / above[~is_worse].sum()
        error = (current - target).item()
        errors.append(error)
        weights = above * is_worse
        if weights.sum() > 0:
            gradient[i] -= error
            gradient[positives] += error * weights / weights.sum()
    return Reference(sum(errors) / len(positives), gradient / len(positives))
