"""What the losses see of their input: all logits, and the positives in order."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

MAX_TARGET = 1.001  # an IoU may exceed 1 by rounding


class Examples(NamedTuple):
    """Checked, detached float64 input of a ranking loss.

    Args:
        logits: [N].
        is_negative: [N], 1 for a negative, 0 for a positive or an ignored example.
        positive_inds: [P], places of the positives in ascending order of their logits (stable).
        positives: [P], their logits, ascending.
        quality: [P], their IoU in (0, 1].
    """

    logits: Tensor
    is_negative: Tensor
    positive_inds: Tensor
    positives: Tensor
    quality: Tensor


def split_examples(logits: Tensor, targets: Tensor) -> Examples:
    """Check the input of a ranking loss and part it into positives and negatives.

    The number of positives is the one thing read back from a device.

    Args:
        logits: [N], any float dtype, finite.
        targets: [N], 0 = negative, (0, 1] = IoU of a positive, -1 = ignored.

    Raises:
        TypeError: logits are not of a float dtype.
        ValueError: shapes or devices differ, or a value is out of range. On a CUDA device a wrong value is found
            without waiting for it, by a device-side assertion with the same message.
    """
    _check(logits, targets)
    logits, targets = logits.detach().double(), targets.detach().double()
    positive_inds = targets.gt(0).nonzero().squeeze(1)
    positives, order = logits[positive_inds].sort(stable=True)
    positive_inds = positive_inds[order]
    return Examples(
        logits=logits,
        is_negative=targets.eq(0).double(),
        positive_inds=positive_inds,
        positives=positives,
        quality=targets[positive_inds].clamp(max=1),
    )


def check_delta(delta: float) -> None:
    """Raise a ValueError unless delta is a finite number >= 0."""
    if not (math.isfinite(delta) and delta >= 0):
        raise ValueError(f"delta must be a finite number >= 0, got {delta}")


def _check(logits: Tensor, targets: Tensor) -> None:
    if not logits.is_floating_point():
        raise TypeError(f"logits must be of a float dtype, got {logits.dtype}")
    if logits.dim() != 1 or logits.shape != targets.shape:
        raise ValueError(
            f"logits and targets must both be of shape [N], got {list(logits.shape)} and {list(targets.shape)}"
        )
    if logits.device != targets.device:
        raise ValueError(f"logits and targets must be on one device, got {logits.device} and {targets.device}")
    _require(logits.isfinite(), "logits must be finite, found NaN or Inf")
    is_valid = targets.eq(-1) | (targets.ge(0) & targets.le(MAX_TARGET))
    _require(is_valid, "targets must be 0 (negative), an IoU in (0, 1] (positive) or -1 (ignored)")


def _require(is_valid: Tensor, message: str) -> None:
    if is_valid.device.type != "cpu":
        torch._assert_async(is_valid.all(), message)
    elif not is_valid.all():
        first = int(is_valid.logical_not().nonzero()[0, 0])
        raise ValueError(f"{message}: {int(is_valid.logical_not().sum())} wrong, the first at index {first}")
