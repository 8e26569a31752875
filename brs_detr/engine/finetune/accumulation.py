"""Gradient accumulation that ends with the epoch."""

from __future__ import annotations

import warnings

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from brs_detr.heads.ranking import RankingLossMixin


class CloseAccumulation(Hook):
    """Make a step with what is left at the end of each epoch, weighed by the number of batches that are left.

    mmengine lets the last batches of an epoch wait for those of the next one. Nothing gets lost that way either, but
    what waits is in no checkpoint: a run that is resumed would go on without it. And a set that is smaller than the
    effective batch would see steps in some epochs only.

    What ranking losses remember of earlier batches is in no checkpoint either: it is forgotten when an epoch begins.
    """

    def before_train(self, runner: Runner) -> None:
        """Silence PyTorch, which takes it for a mistake that the learning rate moves with every batch."""
        warnings.filterwarnings("ignore", r"Detected call of `scheduler\.step\(\)` before", UserWarning)

    def before_train_epoch(self, runner: Runner) -> None:
        """Count anew, to the end of this epoch."""
        no_module = nn.Module()  # its warning about BatchNorm has been logged once
        runner.optim_wrapper.initialize_count_status(no_module, 0, len(runner.train_dataloader))
        for module in runner.model.modules():
            if isinstance(module, RankingLossMixin):
                module.memory.forget()
