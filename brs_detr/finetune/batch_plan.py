"""How many images make a step of the optimizer, and how they get into memory."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class BatchPlan:
    """Images of a step of the optimizer.

    Args:
        batch: images that a process holds at a time; the losses see these together.
        accumulation: batches whose gradients are averaged before a step.
        processes: that train together.
        num_images: of the training set.
    """

    batch: int
    accumulation: int
    processes: int
    num_images: int

    @property
    def effective(self) -> int:
        """Images a step; a training set that is smaller is seen as a whole."""
        return min(self.batch * self.accumulation * self.processes, self.num_images)

    @property
    def iterations(self) -> int:
        """Batches an epoch."""
        return math.ceil(math.ceil(self.num_images / self.processes) / self.batch)

    @property
    def updates(self) -> int:
        """Steps of the optimizer an epoch: the last one averages what is left over."""
        return math.ceil(self.iterations / self.accumulation)

    def __str__(self) -> str:
        parts = [str(self.batch)]
        parts += [f"{self.accumulation} accumulated"] * (self.accumulation > 1)
        parts += [f"{self.processes} processes"] * (self.processes > 1)
        return f"{self.effective} images" + (f": {' x '.join(parts)}" if len(parts) > 1 else "")


def plan_batch(batch: int, effective: int, processes: int, num_images: int, is_asked: bool = False) -> BatchPlan:
    """Reach an effective batch by accumulation.

    Args:
        batch: images that a process shall hold at a time.
        effective: images that a step of the optimizer shall see, over all processes.
        processes: that train together.
        num_images: of the training set.
        is_asked: whether `batch` was asked for and stands even where it is more than `effective`.
    """
    share = max(1, effective // processes)
    batch = min(batch if is_asked else min(batch, share), max(1, math.ceil(num_images / processes)))
    return BatchPlan(batch, max(1, round(effective / (batch * processes))), processes, num_images)


def scaled_learning_rate(learning_rate: float, tuned_for: int, effective: int) -> float:
    """The learning rate at another batch than it was tuned for.

    Adam divides a gradient by its own size, so that noise alone sets how far a step may go: it falls with the square
    root of the batch (Malladi et al., On the SDEs and Scaling Rules for Adaptive Gradient Algorithms, 2022).
    """
    return learning_rate * math.sqrt(effective / tuned_for)
