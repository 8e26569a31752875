"""The same bits from the same training, on a GPU too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(is_wanted: bool) -> Iterator[None]:
    """Within it PyTorch sums in a fixed order, which costs time on a GPU; a CPU always does.

    Our operators choose such implementations by `torch.are_deterministic_algorithms_enabled`. What has none is named in
    a warning of PyTorch's. (One of them is harmless: mmdet counts pixels with a cumulative sum of ones.)

    Args:
        is_wanted: otherwise nothing changes.
    """
    if not is_wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which cuBLAS reads when it begins
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
