"""The losses to measure, the sizes to measure at, and a problem of each size."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import sigmoid_focal_loss

from brs_detr.errors import UserError
from brs_detr.losses import RankSortLossOutput, bucketed_rank_sort_loss, rank_sort_loss
from brs_detr.losses.published import loop_rank_sort_loss, matrix_bucketed_rank_sort_loss

PAPER_LOGITS = {"10K": 10_000, "100K": 100_000, "1M": 1_000_000}
PAPER_PERCENTAGES = (0.1, 1.0, 2.0, 5.0)
DELTA = 0.5


class Cell(NamedTuple):
    """One size.

    Args:
        suite: ``paper`` or ``co-detr``.
        name: unique within its suite.
        num_logits: logits of all rows together.
        num_positives: positives of all rows together.
        num_rows: losses that one call computes.
        num_classes: logits per box; each box is positive in one class at most.
    """

    suite: str
    name: str
    num_logits: int
    num_positives: int
    num_rows: int = 1
    num_classes: int = 1

    @property
    def max_positives(self) -> int:
        """Bound that a head knows on the positives of a row: its number of boxes."""
        return self.num_logits // self.num_rows // self.num_classes

    @property
    def positives_per_row(self) -> int:
        """Number of positives in each row."""
        return self.num_positives // self.num_rows


class Problem(NamedTuple):
    """Input of all implementations at one size.

    Args:
        logits: [N] or [L, N], a leaf that requires its gradient.
        targets: of the same shape, IoU of a positive and 0 for a negative; float32, or float64 beside float64 logits.
        labels: 1 for a positive and 0 for a negative, in the dtype of the logits, for focal loss and BCE.
        max_positives: bound on the positives of a row.
    """

    logits: Tensor
    targets: Tensor
    labels: Tensor
    max_positives: int


def paper_cells() -> list[Cell]:
    """Return the synthetic grid of the paper (S.3.2)."""
    return [
        Cell("paper", f"{name}, {percentage:g} %", num_logits, round(num_logits * percentage / 100))
        for name, num_logits in PAPER_LOGITS.items()
        for percentage in PAPER_PERCENTAGES
    ]


def co_detr_cells() -> list[Cell]:
    """Return the calls of a ranking loss in Co-DETR on COCO with two images: images x boxes x classes."""
    layer, tokens = 2 * 300 * 80, 2 * 22_000 * 80
    return [
        Cell("co-detr", "decoder layer", layer, 40, num_classes=80),
        Cell("co-detr", "decoder layers, one call", 7 * layer, 7 * 40, num_rows=7, num_classes=80),
        Cell("co-detr", "RoI head", 2 * 1000 * 80, 128, num_classes=80),
        Cell("co-detr", "RPN", 500_000, 500),
        Cell("co-detr", "encoder proposals", tokens, 40, num_classes=80),
        Cell("co-detr", "ATSS head", tokens, 1000, num_classes=80),
    ]


def select_cells(suite: str = "all", max_logits: int | None = None) -> list[Cell]:
    """Return the cells of a suite, or of all, with at most `max_logits` logits.

    Raises:
        UserError: there is none.
    """
    cells = [cell for cell in paper_cells() + co_detr_cells() if suite in ("all", cell.suite)]
    smallest = min(cell.num_logits for cell in cells)
    cells = [cell for cell in cells if max_logits is None or cell.num_logits <= max_logits]
    if not cells:
        raise UserError(
            f"--max-logits {max_logits} leaves nothing to measure.", f"The smallest size has {smallest} logits."
        )
    return cells


def make_problem(cell: Cell, device: torch.device, dtype: torch.dtype, seed: int) -> Problem:
    """Draw a problem as the paper does: positives from N(-1, 1), negatives from N(1, 1), IoU uniform in (0, 1].

    It is drawn on the CPU, so that every device gets the same problem.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (cell.num_rows, cell.num_logits // cell.num_rows)
    logits = torch.randn(shape, generator=generator) + 1
    order = torch.rand(shape, generator=generator).argsort(1)
    positive_inds = order[:, : cell.positives_per_row]  # [L, P]
    logits.scatter_add_(1, positive_inds, torch.full(positive_inds.shape, -2.0))
    quality = 1 - torch.rand(positive_inds.shape, generator=generator)
    targets = torch.zeros(shape).scatter_(1, positive_inds, quality)
    targets_dtype = torch.promote_types(dtype, torch.float32)
    if cell.num_rows == 1:
        logits, targets = logits[0], targets[0]
    return Problem(
        logits.to(device, dtype).requires_grad_(),
        targets.to(device, targets_dtype),
        targets.gt(0).to(device, dtype),
        cell.max_positives,
    )


def fewer_positives(problem: Problem, number: int) -> Problem:
    """Ignore all positives except `number`, which include the lowest.

    The lowest positive decides which negatives take part, so these stay the same.

    Args:
        problem: a problem of one row.
        number: number of positives to keep.
    """
    logits, targets = problem.logits, problem.targets
    positive_inds = targets.gt(0).nonzero().squeeze(1)
    descending = logits.detach()[positive_inds].argsort(descending=True)
    targets = targets.index_fill(0, positive_inds[descending[: len(positive_inds) - number]], -1)
    return problem._replace(targets=targets)


Implementation = Callable[[Problem], Tensor]


def _all_rows(loss: Callable[..., RankSortLossOutput]) -> Implementation:
    """Compute all rows in one call, as a head does."""

    def total(problem: Problem) -> Tensor:
        output = loss(problem.logits, problem.targets, DELTA, max_positives=problem.max_positives)
        both = output.rank + output.sort
        return both if both.dim() == 0 else both.sum()

    return total


def _row_after_row(loss: Callable[[Tensor, Tensor, float], RankSortLossOutput]) -> Implementation:
    """Compute each row in its own call, in the dtype of the logits, for losses of one row."""

    def total(problem: Problem) -> Tensor:
        logits, targets = problem.logits, problem.targets.to(problem.logits.dtype)
        is_single = logits.dim() == 1
        rows = [(logits, targets)] if is_single else zip(logits.unbind(), targets.unbind(), strict=True)
        outputs = [loss(*row, DELTA) for row in rows]
        return torch.stack([output.rank + output.sort for output in outputs]).sum()

    return total


def _score_based(loss: Callable[..., Tensor]) -> Implementation:
    return lambda problem: loss(problem.logits, problem.labels, reduction="sum")


IMPLEMENTATIONS: dict[str, Implementation] = {
    "loop": _row_after_row(loop_rank_sort_loss),
    "bucketed_matrix": _row_after_row(matrix_bucketed_rank_sort_loss),
    "bucketed": _all_rows(bucketed_rank_sort_loss),
    "exact": _all_rows(rank_sort_loss),
    "focal": _score_based(sigmoid_focal_loss),
    "bce": _score_based(binary_cross_entropy_with_logits),
}
"""Slowest first. The first four are RS Loss: by its loop, by the matrices of Algorithm 2, and our two forms."""


def forward_backward(name: str, problem: Problem) -> None:
    """Compute the loss and store its gradient in ``problem.logits.grad``, replacing the previous one."""
    problem.logits.grad = None
    IMPLEMENTATIONS[name](problem).backward()


def needed_bytes(name: str, cell: Cell, dtype: torch.dtype) -> int:
    """Estimate the memory that a call needs.

    The matrices hold P x P numbers with a mask and some margin, or P x (P + 1) numbers. All hold a few copies of the
    logits.
    """
    positives = cell.positives_per_row if name == "bucketed_matrix" else 0
    pairs = max(int(1.3 * positives**2), positives * (positives + 1))
    return (pairs + 4 * cell.num_logits) * dtype.itemsize
