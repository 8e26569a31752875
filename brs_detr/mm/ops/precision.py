"""The dtype an op computes in, and whether the order of its sums matters."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(tensor: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 as they are.

    torchvision has no half-precision CPU kernels and no bfloat16 ones at all, and box coordinates above 2048 lose
    whole pixels in half precision.
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def is_order_fixed(tensor: Tensor) -> bool:
    """Whether sums have to be made in a fixed order and its device would not: `torch.use_deterministic_algorithms`."""
    return tensor.is_cuda and torch.are_deterministic_algorithms_enabled()
