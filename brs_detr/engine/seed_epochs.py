"""Random numbers that depend on the seed and the epoch alone, so that a run that is resumed draws the same ones."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

if TYPE_CHECKING:
    from mmengine import Config


class SeedEpochs(Hook):
    """Seed Python, NumPy and PyTorch anew when an epoch begins, each process of several differently.

    Their state is in no checkpoint. Workers that load data get their seeds from this process, if they begin with the
    epoch: see `draw_anew_each_epoch`.
    """

    priority = "VERY_HIGH"

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed with the run's seed, the epoch and the rank."""
        source = np.random.SeedSequence([runner.seed, runner.epoch, get_rank()])
        for_python, for_numpy, for_torch = map(int, source.generate_state(3))
        random.seed(for_python)
        np.random.seed(for_numpy)
        torch.manual_seed(for_torch)


def keep_seeds(worker_id: int) -> None:
    """Leave the seeds that PyTorch gave a worker; mmengine would give it the same ones in every epoch."""


def draw_anew_each_epoch(config: Config) -> None:
    """Let random numbers of a training depend on its seed and the epoch alone, in place."""
    hooks = [hook for hook in config.get("custom_hooks") or [] if hook["type"] != "SeedEpochs"]  # of an earlier run
    config.custom_hooks = [*hooks, {"type": "SeedEpochs"}]
    config.train_dataloader.update(persistent_workers=False, worker_init_fn={"type": "keep_seeds"})
