"""What is measured, each as a function from a problem to a scalar to differentiate."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import sigmoid_focal_loss

from brs_detr.bench.grid import Cell, Problem
from brs_detr.losses import RankSortLossOutput, bucketed_rank_sort_loss, rank_sort_loss
from brs_detr.losses.loop import loop_rank_sort_loss
from brs_detr.losses.matrix import matrix_bucketed_rank_sort_loss

DELTA = 0.5

Implementation = Callable[[Problem], Tensor]


def _all_rows(loss: Callable[..., RankSortLossOutput]) -> Implementation:
    """One call for all rows, as a head makes it."""

    def total(problem: Problem) -> Tensor:
        output = loss(problem.logits, problem.targets, DELTA, max_positives=problem.max_positives)
        both = output.rank + output.sort
        return both if both.dim() == 0 else both.sum()

    return total


def _row_after_row(loss: Callable[[Tensor, Tensor, float], RankSortLossOutput]) -> Implementation:
    """One call for each row, in the dtype of the logits, for what knows no more."""

    def total(problem: Problem) -> Tensor:
        logits, targets = problem.logits, problem.targets.to(problem.logits.dtype)
        is_single = logits.dim() == 1
        rows = [(logits, targets)] if is_single else zip(logits.unbind(), targets.unbind(), strict=True)
        outputs = [loss(*row, DELTA) for row in rows]
        return torch.stack([output.rank + output.sort for output in outputs]).sum()

    return total


def _focal(problem: Problem) -> Tensor:
    return sigmoid_focal_loss(problem.logits, problem.labels, reduction="sum")


def _bce(problem: Problem) -> Tensor:
    return binary_cross_entropy_with_logits(problem.logits, problem.labels, reduction="sum")


IMPLEMENTATIONS: dict[str, Implementation] = {
    "loop": _row_after_row(loop_rank_sort_loss),
    "bucketed_matrix": _row_after_row(matrix_bucketed_rank_sort_loss),
    "bucketed": _all_rows(bucketed_rank_sort_loss),
    "exact": _all_rows(rank_sort_loss),
    "focal": _focal,
    "bce": _bce,
}
"""Slowest first. The first four are RS Loss: by its loop, by Algorithm 2 with its matrices, and twice as we do it."""


def forward_backward(name: str, problem: Problem) -> None:
    """Compute the loss and put its gradient into ``problem.logits.grad``, in place of what was there."""
    problem.logits.grad = None
    IMPLEMENTATIONS[name](problem).backward()


def needed_bytes(name: str, cell: Cell, dtype: torch.dtype) -> int:
    """Estimate of the memory that a call needs, to refuse what cannot work.

    The matrices hold P x P numbers with a mask and some room, or P x (P + 1) numbers. All hold a few copies of the
    logits.
    """
    positives = cell.positives_a_row if name == "bucketed_matrix" else 0
    pairs = max(int(1.3 * positives**2), positives * (positives + 1))
    return (pairs + 4 * cell.num_logits) * dtype.itemsize
