"""Mixed precision in bfloat16, on the CPU as on the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from brs_detr.training.guarded_optimizer import GuardedOptimWrapper


class AutocastOptimWrapper(GuardedOptimWrapper):
    """Optimizer wrapper whose forward pass runs under `torch.autocast` in bfloat16.

    bfloat16 has the exponent range of float32: there is no loss scale to keep, and therefore no GradScaler.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of a training step in mixed precision."""
        device_type = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device_type, dtype=torch.bfloat16):
            yield
