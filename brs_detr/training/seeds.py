"""Reproducible training: seeds that depend only on the position in the training, and deterministic kernels.

A resumed run draws the same random numbers, although checkpoints hold no random state, and with any number of data
loader workers: each image has its own seed, see `brs_detr.training.training_samples`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner


def seed_all(*numbers: int) -> None:
    """Seed Python, NumPy and PyTorch with a hash of non-negative integers."""
    for_python, for_numpy, for_torch = map(int, np.random.SeedSequence(numbers).generate_state(3))
    random.seed(for_python)
    np.random.seed(for_numpy)
    torch.manual_seed(for_torch)


def seeds_of_step(runner: Runner) -> tuple[int, int, int]:
    """Return the seed, step and rank that determine the random numbers of the current or next step."""
    return runner.seed, runner.iter, get_rank()


class SeedSteps(Hook):
    """Seed each training step with the seed of the run, the number of the step and the rank of the process."""

    priority = "HIGHEST"

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the step."""
        seed_all(*seeds_of_step(runner))


@contextmanager
def deterministic(is_wanted: bool) -> Iterator[None]:
    """Make PyTorch sum in a fixed order within the block, if wanted. CPUs always do; on GPUs it costs time.

    PyTorch warns about operators that cannot. The warning about `cumsum` is harmless: mmdet counts pixels with it.
    """
    if not is_wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
