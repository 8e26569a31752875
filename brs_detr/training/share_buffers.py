"""One model for an evaluation on several processes."""

from __future__ import annotations

from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.runner import Runner


class ShareBuffers(Hook):
    """Evaluate with the buffers of the first process, which are those that checkpoints hold.

    BatchNorm that is trained has statistics of its own in each process: an image would be judged by where it was sent.
    """

    priority = "VERY_LOW"  # a moving mean has taken the place of the weights by then

    def before_val_epoch(self, runner: Runner) -> None:
        """Send them."""
        for buffer in runner.model.buffers():
            broadcast(buffer)
