"""The sizes at which the losses are measured, and a problem of each size."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from brs_detr.errors import UserError

PAPER_LOGITS = {"10K": 10_000, "100K": 100_000, "1M": 1_000_000}
PAPER_PERCENTAGES = (0.1, 1.0, 2.0, 5.0)
SUITES = ("paper", "co-detr")


class Cell(NamedTuple):
    """One size.

    Args:
        suite: ``paper`` or ``co-detr``.
        name: unique within its suite.
        num_logits: of all rows together.
        num_positives: of all rows together.
        num_rows: losses that one call computes.
        num_classes: logits a box; each box is positive in one class at most.
    """

    suite: str
    name: str
    num_logits: int
    num_positives: int
    num_rows: int = 1
    num_classes: int = 1

    @property
    def max_positives(self) -> int:
        """What a head knows of the number of positives in a row: its boxes."""
        return self.num_logits // self.num_rows // self.num_classes

    @property
    def positives_a_row(self) -> int:
        """Each row holds as many as every other."""
        return self.num_positives // self.num_rows


class Problem(NamedTuple):
    """What all implementations see of a cell.

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
    """The synthetic grid of the paper (S.3.2)."""
    return [
        Cell("paper", f"{name}, {percentage:g} %", num_logits, round(num_logits * percentage / 100))
        for name, num_logits in PAPER_LOGITS.items()
        for percentage in PAPER_PERCENTAGES
    ]


def co_detr_cells() -> list[Cell]:
    """The calls of a ranking loss in Co-DETR on COCO, at two images: images x boxes x classes."""
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
    """Cells of a suite, or of all, that are no larger than wanted.

    Raises:
        UserError: none is left.
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

    Drawn on the CPU, so that every device gets the same.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (cell.num_rows, cell.num_logits // cell.num_rows)
    logits = torch.randn(shape, generator=generator) + 1
    order = torch.rand(shape, generator=generator).argsort(1)
    positive_inds = order[:, : cell.positives_a_row]  # [L, P]
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
    """The same problem with all positives ignored but `number`, the lowest of them included.

    The lowest positive decides which negatives take part, so that these stay the same.

    Args:
        problem: of one row.
        number: of positives to keep.
    """
    logits, targets = problem.logits, problem.targets
    positive_inds = targets.gt(0).nonzero().squeeze(1)
    descending = logits.detach()[positive_inds].argsort(descending=True)
    targets = targets.index_fill(0, positive_inds[descending[: len(positive_inds) - number]], -1)
    return problem._replace(targets=targets)
