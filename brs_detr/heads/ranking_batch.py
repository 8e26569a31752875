"""Predictions to rank together: those of a batch, of earlier batches and of other processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size
from torch import Tensor

IGNORED = -1.0


class Ranked(NamedTuple):
    """Predictions to rank together.

    Args:
        logits: ``[..., N]``.
        quality: ``[..., N]`` targets of the ranking loss.
        max_positives: upper bound of the number of positives per row.
    """

    logits: Tensor
    quality: Tensor
    max_positives: int


class RankingMemory:
    """Predictions of the last batches, detached.

    A ranking loss compares predictions within a batch. With gradient accumulation, a false positive in one small batch
    is never compared with the objects of another. The memory adds the other batches of the step to the ranking, so
    that the accumulated gradient is that of one large batch. (It also holds batches of the step before, whose logits
    are one update older.)

    Args:
        num_batches: number of batches to keep per name, >= 0.
    """

    def __init__(self, num_batches: int) -> None:
        self.num_batches = num_batches
        self._kept: dict[str, deque[Ranked]] = {}

    def content(self) -> dict[str, list[list[Any]]]:
        """Return the memory as tensors and plain values; see `restore`."""
        return {
            name: [[batch.logits.cpu(), batch.quality.cpu(), batch.max_positives] for batch in batches]
            for name, batches in self._kept.items()
        }

    def restore(self, content: Mapping[str, Sequence[Sequence[Any]]]) -> None:
        """Load the value of `content`."""
        for name, batches in content.items():
            self._kept[name] = deque((Ranked(*batch) for batch in batches), maxlen=self.num_batches)

    def join(self, name: str, own: Ranked) -> tuple[Ranked, int]:
        """Append the predictions in memory to those of this batch, then store these.

        Args:
            name: set of predictions. Only those of the same name are ranked together.
            own: predictions of this batch.

        Returns:
            All predictions, and the number of batches. A loss of all predictions gives this batch its share of the
            gradient of one large batch. Accumulation divides it by the number of batches, so multiply it by that.
        """
        kept = self._kept.setdefault(name, deque(maxlen=self.num_batches))
        batches = [own, *(batch for batch in kept if batch.logits.shape[:-1] == own.logits.shape[:-1])]
        kept.append(own._replace(logits=own.logits.detach()))
        logits = torch.cat([batch.logits for batch in batches], -1)
        quality = torch.cat([batch.quality for batch in batches], -1)
        return Ranked(logits, quality, sum(batch.max_positives for batch in batches)), len(batches)


def gather_ranked(own: Ranked) -> tuple[Ranked, int]:
    """Join the predictions of all processes in the order of their ranks. Only those of this process have a gradient.

    All processes must call it equally often and in the same order. Each call exchanges the numbers of predictions
    first, which synchronises host and device once.

    Args:
        own: predictions of this process. The number of predictions may differ between processes; that of rows may not.

    Returns:
        All predictions, and the number of processes. Averaging gradients over processes divides by their number, so
        multiply the gradient of a loss of all predictions by it.
    """
    num_processes = get_world_size()
    if num_processes == 1:
        return own, 1
    lengths, bounds = _gather(own.logits.new_tensor([own.logits.shape[-1], own.max_positives])).T.long().tolist()
    length = max(lengths)
    logits, quality = (
        list(_gather(torch.nn.functional.pad(tensor.detach(), (0, length - tensor.shape[-1]), value=value)))
        for tensor, value in ((own.logits, 0.0), (own.quality, IGNORED))
    )
    parts = [(x[..., :n], y[..., :n]) for x, y, n in zip(logits, quality, lengths, strict=True)]
    parts[get_rank()] = own.logits, own.quality
    all_logits, all_quality = (torch.cat(tensors, -1) for tensors in zip(*parts, strict=True))
    return Ranked(all_logits, all_quality, sum(bounds)), num_processes


def max_over_processes(number: int) -> int:
    """Return the maximum of a number over all processes."""
    values: list[Any] = [number] * get_world_size()
    if len(values) > 1:
        dist.all_gather_object(values, number)
    return int(max(values))


def _gather(tensor: Tensor) -> Tensor:
    """Stack the tensors of all processes."""
    gathered = [torch.empty_like(tensor) for _ in range(get_world_size())]
    dist.all_gather(gathered, tensor.contiguous())
    return torch.stack(gathered)
