"""What `mmcv.ops` reports about the compiler, where nothing was compiled."""

from __future__ import annotations

import torch
import torchvision


def get_compiler_version() -> str:
    """Name what stands in for compiled code, for mmdet's environment report."""
    return f"none: brs_detr.mm.ops on torchvision {torchvision.__version__}"


def get_compiling_cuda_version() -> str:
    """CUDA version of the PyTorch build, or ``not available``."""
    return str(torch.version.cuda or "not available")
