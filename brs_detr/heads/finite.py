"""What heads do about predictions that are not finite: the loss says so, and nothing before it stops or hangs."""

from __future__ import annotations

import torch
from torch import Tensor


def finite_or_zero(values: Tensor) -> tuple[Tensor, Tensor]:
    """Replace all values by zeros if one of them is NaN or infinite.

    A matching or a ranking loss could not work with such values, and on a GPU would end the process. On a CPU the price
    is one sum; elsewhere nothing waits for the answer.

    Args:
        values: any shape.

    Returns:
        The values, and a scalar that is 0 where they are finite and NaN where they were not, to add to the loss.
    """
    total = values.detach().sum()
    verdict = 0 * total
    if values.device.type == "cpu" and total.isfinite():
        return values, verdict
    return torch.where(total.isfinite(), values, 0), verdict
