"""A model as an exported program of PyTorch."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.export import Dim

if TYPE_CHECKING:
    from torch.export import ExportedProgram

SMALLEST_SIDE = 257
"""In pixels, of an image of any size: a smaller one has a map of a single cell, which PyTorch takes for a constant."""

LARGEST_SIDE = 8192
LARGEST_BATCH = 256


def example_inputs(fixed_size: tuple[int, int] | None, batch_size: int | None) -> tuple[Tensor, Tensor]:
    """Images ``[B, 3, H, W]`` and their sizes ``[B, 2]`` to trace a model with.

    Args:
        fixed_size: (h, w) of the only images that it will take; None for any.
        batch_size: of the only batches that it will take; None for any.
    """
    height, width = fixed_size or (320, 416)
    batch_size = batch_size or 2
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([(height - 8 * place, width - 16 * place) for place in range(batch_size)]).clamp(min=1)
    return torch.randn(batch_size, 3, height, width, generator=generator), sizes


def export_program(model: nn.Module, fixed_size: tuple[int, int] | None, batch_size: int | None) -> ExportedProgram:
    """Trace a model of ``images`` and ``image_sizes``; arguments as in `example_inputs`."""
    batch = Dim("batch", min=1, max=LARGEST_BATCH) if batch_size is None else None
    height, width = (
        (Dim(name, min=SMALLEST_SIDE, max=LARGEST_SIDE) if fixed_size is None else None) for name in ("height", "width")
    )
    shapes = {"images": {0: batch, 2: height, 3: width}, "image_sizes": {0: batch}}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch about itself
        return torch.export.export(
            model,
            example_inputs(fixed_size, batch_size),
            dynamic_shapes=shapes,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
