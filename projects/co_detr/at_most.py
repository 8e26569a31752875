"""The smaller of a number and a size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def at_most(limit: int, size: Any) -> Any:
    """The smaller one. A tracer hands out sizes as tensors or as symbols; neither becomes a constant of the graph."""
    return size.clamp(max=limit) if isinstance(size, Tensor) else torch.sym_min(limit, size)
