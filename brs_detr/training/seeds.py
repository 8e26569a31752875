"""Random numbers that depend on the seed and the place in the training alone: a run that is resumed draws the same.

Their states are in no checkpoint, and are the same with any number of processes that load data: seeds are those of each
image, see `brs_detr.training.training_samples`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

if TYPE_CHECKING:
    from mmengine import Config


def seed_all(*numbers: int) -> None:
    """Seed Python, NumPy and PyTorch with a hash of whole numbers >= 0."""
    for_python, for_numpy, for_torch = map(int, np.random.SeedSequence(numbers).generate_state(3))
    random.seed(for_python)
    np.random.seed(for_numpy)
    torch.manual_seed(for_torch)


def seeds_of_step(runner: Runner) -> tuple[int, int, int]:
    """What the random numbers of the step that comes next, or is under way, depend on: seed, step, rank."""
    return runner.seed, runner.iter, get_rank()


class SeedSteps(Hook):
    """Seed each step of a training with the run's seed, the number of the step and the rank of the process."""

    priority = "HIGHEST"

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed."""
        seed_all(*seeds_of_step(runner))


def draw_by_place(config: Config) -> None:
    """Let random numbers of a training depend on its seed and the place in it alone, in place."""
    hooks = [hook for hook in config.get("custom_hooks") or [] if hook["type"] != "SeedSteps"]  # of an earlier run
    config.custom_hooks = [*hooks, {"type": "SeedSteps"}]
    config.train_dataloader.persistent_workers = False  # they would not learn of the next epoch
