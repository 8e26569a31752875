"""Checks of the arguments of ranking losses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MAX_TARGET = 1.001  # an IoU may exceed 1 by rounding
LOGITS_MESSAGE = "logits must be finite, found NaN or Inf"
TARGETS_MESSAGE = "targets must be 0 (negative), an IoU in (0, 1] (positive) or -1 (ignored)"
POSITIVES_MESSAGE = "a row of targets has more positives than max_positives"


def check_delta(delta: float) -> None:
    """Raise a ValueError unless delta is a finite number >= 0."""
    if not 0 <= delta < math.inf:
        raise ValueError(f"delta must be a finite number >= 0, got {delta}")


def check_shapes(logits: Tensor, targets: Tensor) -> None:
    """Check dtype, shapes and devices.

    Raises:
        TypeError: logits are not of a float dtype.
        ValueError: shapes or devices do not agree.
    """
    if not logits.is_floating_point():
        raise TypeError(f"logits must be of a float dtype, got {logits.dtype}")
    if logits.dim() not in (1, 2) or targets.shape not in (logits.shape, logits.shape[-1:]):
        raise ValueError(
            "logits must be of shape [N] or [L, N], and targets of the same shape or, for all L rows, [N], "
            f"got {list(logits.shape)} and {list(targets.shape)}"
        )
    if logits.device != targets.device:
        raise ValueError(f"logits and targets must be on one device, got {logits.device} and {targets.device}")


def check_values(logits: Tensor, targets: Tensor) -> None:
    """Raise a ValueError if logits are not finite or targets are out of range.

    On devices other than the CPU a device-side assertion with the same message does this without synchronising.
    """
    if not logits.numel():
        return
    if logits.device.type != "cpu":
        torch._assert_async(logits.isfinite().all(), LOGITS_MESSAGE)
        torch._assert_async(_is_valid_target(targets).all(), TARGETS_MESSAGE)
        return
    if not all(math.isfinite(bound) for bound in _bounds(logits)):
        _raise(logits.isfinite(), LOGITS_MESSAGE)
    lowest, highest = _bounds(targets)
    if not 0 <= lowest <= highest <= MAX_TARGET:
        targets = targets[:1] if targets.stride(0) == 0 else targets  # rows that share their targets
        is_valid = _is_valid_target(targets)
        if not is_valid.all():
            _raise(is_valid, TARGETS_MESSAGE)


def check_positives(num_positives: int, max_positives: int) -> None:
    """Raise a ValueError if a row has more positives than ``max_positives``."""
    if num_positives > max_positives:
        raise ValueError(f"{POSITIVES_MESSAGE}: {num_positives} in one row, max_positives is {max_positives}")


def _bounds(values: Tensor) -> tuple[float, float]:
    """Return the smallest and the largest value, or NaN if any value is NaN."""
    lowest, highest = values.aminmax()
    return lowest.item(), highest.item()


def _is_valid_target(targets: Tensor) -> Tensor:
    return targets.eq(-1) | (targets.ge(0) & targets.le(MAX_TARGET))


def _raise(is_valid: Tensor, message: str) -> None:
    wrong = is_valid.logical_not().nonzero()
    *row, index = wrong[0].tolist()
    where = f"row {row[0]}, index {index}" if row and len(is_valid) > 1 else f"index {index}"
    raise ValueError(f"{message}: {len(wrong)} wrong, the first at {where}")
