"""Ranking among more predictions than fit into one batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Ranked(NamedTuple):
    """Predictions that are ranked together.

    Args:
        logits: ``[..., N]``.
        quality: ``[..., N]`` targets of a ranking loss.
        max_positives: most positives among them, of one row.
    """

    logits: Tensor
    quality: Tensor
    max_positives: int


class RankingMemory:
    """The predictions of the last batches, without a gradient, by group.

    Gradient accumulation adds the gradients of several small batches, but a ranking loss compares within one batch: a
    false positive of one image is never held against the objects of another. With the other batches of the step in
    memory it is, and the sum of the gradients becomes that of one large batch. (The memory also holds batches of the
    step before, whose logits are older by one update.)

    Args:
        num_batches: to keep of each group, >= 0.
    """

    def __init__(self, num_batches: int) -> None:
        self.num_batches = num_batches
        self._kept: dict[str, deque[Ranked]] = {}

    def content(self) -> dict[str, list[list[Any]]]:
        """What is remembered, as tensors and plain values: see `restore`."""
        return {
            group: [[batch.logits.cpu(), batch.quality.cpu(), batch.max_positives] for batch in batches]
            for group, batches in self._kept.items()
        }

    def restore(self, content: Mapping[str, Sequence[Sequence[Any]]]) -> None:
        """Remember what `content` gave."""
        for group, batches in content.items():
            self._kept[group] = deque((Ranked(*batch) for batch in batches), maxlen=self.num_batches)

    def join(self, group: str, own: Ranked) -> tuple[Ranked, int]:
        """Put what is remembered behind the predictions of this batch, then remember these.

        Args:
            group: predictions of different groups never meet: layers of a decoder, proposals of its encoder, ...
            own: of this batch.

        Returns:
            All of them, and of how many batches they are. The gradient that a loss of all of them gives this batch is
            its part of the gradient of one large batch; accumulation divides it by the number of batches, so it has to
            be multiplied by that.
        """
        kept = self._kept.setdefault(group, deque(maxlen=self.num_batches))
        batches = [own, *(batch for batch in kept if batch.logits.shape[:-1] == own.logits.shape[:-1])]
        kept.append(own._replace(logits=own.logits.detach()))
        logits = torch.cat([batch.logits for batch in batches], -1)
        quality = torch.cat([batch.quality for batch in batches], -1)
        return Ranked(logits, quality, sum(batch.max_positives for batch in batches)), len(batches)
