"""A hook that makes losses NaN at known steps: `custom_hooks = [dict(type="SpoilSteps", every=97)]`."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class SpoilSteps(Hook):
    """Fill an image with NaN at every n-th step.

    Args:
        every: interval in steps.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Fill the first image of the batch with NaN."""
        if (runner.iter + 1) % self.every == 0:
            data_batch["inputs"][0] = torch.full_like(data_batch["inputs"][0], float("nan"), dtype=torch.float32)
