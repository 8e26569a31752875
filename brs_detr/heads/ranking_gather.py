"""Ranking among the predictions of all processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size
from torch import Tensor

from brs_detr.heads.ranking_memory import Ranked

IGNORED = -1.0


def gather_ranked(own: Ranked) -> tuple[Ranked, int]:
    """Put the predictions of all processes together, in the order of their ranks; only one's own have a gradient.

    All processes must call it equally often and in the same order. It exchanges the numbers of predictions first, which
    waits for the device: one host-device synchronisation a call.

    Args:
        own: predictions of this process; those of others may be more or fewer, in equally many rows.

    Returns:
        All of them, and the number of processes. The gradient that a loss of all of them gives one's own is their part
        of the gradient of one process with the whole batch; averaging over processes divides it by their number, so it
        has to be multiplied by that.
    """
    num_processes = get_world_size()
    if num_processes == 1:
        return own, 1
    lengths, bounds = _gather(own.logits.new_tensor([own.logits.shape[-1], own.max_positives])).T.long().tolist()
    room = max(lengths)
    logits, quality = (
        list(_gather(_padded(tensor.detach(), room, value)))
        for tensor, value in ((own.logits, 0.0), (own.quality, IGNORED))
    )
    parts = [(x[..., :n], y[..., :n]) for x, y, n in zip(logits, quality, lengths, strict=True)]
    parts[get_rank()] = own.logits, own.quality
    all_logits, all_quality = (torch.cat(tensors, -1) for tensors in zip(*parts, strict=True))
    return Ranked(all_logits, all_quality, sum(bounds)), num_processes


def largest_number(number: int) -> int:
    """Largest value of a number in all processes."""
    values: list[Any] = [None] * get_world_size()
    if len(values) == 1:
        return number
    dist.all_gather_object(values, number)
    return int(max(values))


def _gather(tensor: Tensor) -> Tensor:
    """The tensors of all processes, stacked."""
    gathered = [torch.empty_like(tensor) for _ in range(get_world_size())]
    dist.all_gather(gathered, tensor.contiguous())
    return torch.stack(gathered)


def _padded(tensor: Tensor, length: int, value: float) -> Tensor:
    return torch.nn.functional.pad(tensor, (0, length - tensor.shape[-1]), value=value)
