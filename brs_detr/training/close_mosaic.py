"""End mosaic before the training does."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner


class CloseMosaic(Hook):
    """Train on whole images in the last epochs, which is what the detector will see.

    Args:
        begin: epochs with mosaic.
    """

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.is_closed = False

    def before_train_epoch(self, runner: Runner) -> None:
        """Skip the transform from now on; workers of the data loader are started anew, to learn of it."""
        if runner.epoch >= self.begin and not self.is_closed:
            self.is_closed = True
            runner.train_dataloader.dataset.update_skip_type_keys(["Mosaic"])
            runner.train_dataloader._iterator = None
