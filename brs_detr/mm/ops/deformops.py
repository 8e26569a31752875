"""Whether the Triton kernels of the package deformops can run here.

Only its operator is used. Its ``integrations.mmcv`` would replace mmcv's extension loader for the whole process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

Operator = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


@cache
def find_operator() -> tuple[Operator | None, str]:
    """deformops' attention operator, or None, and the reason why."""
    if not torch.cuda.is_available():
        return None, "no CUDA device"
    if torch.cuda.get_device_capability() < (7, 0):
        return None, "the GPU is older than compute capability 7.0, which Triton needs"
    try:
        from deformops.registry import Backend, msda
    except ImportError:
        return None, "deformops is not installed (extra [cuda], Python 3.12 or 3.13)"
    if not msda.is_registered(Backend.TRITON):
        return None, f"deformops has no Triton kernel here: {msda.unavailable_reason(Backend.TRITON)}"
    return msda, "CUDA device and deformops found"
