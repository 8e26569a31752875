"""The same numbers again: seeds that depend on the position in the training alone, and deterministic kernels.

A resumed run draws the same numbers although no checkpoint holds their state, with any number of data workers: images
have seeds of their own, see `brs_detr.training.training_samples`.
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
    """Seed Python, NumPy and PyTorch with a hash of whole numbers >= 0."""
    for_python, for_numpy, for_torch = map(int, np.random.SeedSequence(numbers).generate_state(3))
    random.seed(for_python)
    np.random.seed(for_numpy)
    torch.manual_seed(for_torch)


def seeds_of_step(runner: Runner) -> tuple[int, int, int]:
    """Seed, step and rank, on which the random numbers of the step that is next or under way depend."""
    return runner.seed, runner.iter, get_rank()


class SeedSteps(Hook):
    """Seed each step of a training with the run's seed, the number of the step and the rank of the process."""

    priority = "HIGHEST"

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the step."""
        seed_all(*seeds_of_step(runner))


@contextmanager
def deterministic(is_wanted: bool) -> Iterator[None]:
    """Within it PyTorch sums in a fixed order, if wanted; this costs time on a GPU, while a CPU always does so.

    PyTorch warns about operators that cannot. (One is harmless: mmdet counts pixels with a cumulative sum of ones.)
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
