"""What a head computes on its way to detections, by name: what an exported file is checked by."""

from __future__ import annotations

import torch
from torch import Tensor


class Stages:
    """Intermediate results in the order in which they arise; what has one name, level by level, is joined."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, **parts: Tensor) -> None:
        """Keep tensors ``[B, N, ...]``."""
        for name, part in parts.items():
            self._parts.setdefault(name, []).append(part)

    def joined(self) -> dict[str, Tensor]:
        """Everything that was kept, ``[B, N, ...]`` each."""
        return {name: parts[0] if len(parts) == 1 else torch.cat(parts, 1) for name, parts in self._parts.items()}
