"""The dtype an op computes in, and whether the order of its sums matters."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(tensor: Tensor) -> Tensor:
    """Return half precision as float32, and float32 and float64 unchanged.

    torchvision has no half-precision CPU kernels and no bfloat16 kernels at all, and in half precision box coordinates
    above 2048 are wrong by whole pixels.
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def is_order_fixed(tensor: Tensor) -> bool:
    """Whether `torch.use_deterministic_algorithms` is set and the device of the tensor would sum in any order."""
    return tensor.is_cuda and torch.are_deterministic_algorithms_enabled()
