"""A model as an exported program of PyTorch."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.export import Dim

from brs_detr.export.preparation import PreparedModel

if TYPE_CHECKING:
    from torch.export import ExportedProgram

LARGEST_SIDE = 8192
LARGEST_BATCH = 256
EXAMPLE_SIZE = (320, 416)


def example_inputs(fixed_size: tuple[int, int] | None, batch_size: int | None) -> tuple[Tensor, Tensor]:
    """Images ``[B, 3, H, W]`` and their sizes ``[B, 2]`` to trace a model with.

    Args:
        fixed_size: (h, w) of the only images that it will take; None for any.
        batch_size: of the only batches that it will take; None for any.
    """
    height, width = fixed_size or EXAMPLE_SIZE
    batch_size = batch_size or 2
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([(height - 8 * place, width - 16 * place) for place in range(batch_size)]).clamp(min=1)
    return torch.randn(batch_size, 3, height, width, generator=generator), sizes


def export_program(
    model: nn.Module, fixed_size: tuple[int, int] | None, batch_size: int | None, smallest_side: int
) -> ExportedProgram:
    """Trace a model of ``images`` and ``image_sizes``, or one of decoded images and a frame.

    Args:
        model: to trace.
        fixed_size, batch_size: as in `example_inputs`; decoded images may have any size.
        smallest_side: of images of any size, in pixels.
    """
    images, image_sizes = example_inputs(fixed_size, batch_size)
    batch = {} if batch_size else {0: Dim("batch", min=1, max=LARGEST_BATCH)}
    sides = [Dim(name, min=smallest_side, max=LARGEST_SIDE) for name in ("rows", "columns")]
    if isinstance(model, PreparedModel):
        decoded = torch.zeros(len(images), 123, 151, 3, dtype=torch.uint8)
        inputs = decoded, torch.zeros([side - 3 for side in images.shape[2:]] if fixed_size else images.shape[2:])
        frame = [Dim(name, min=2, max=LARGEST_SIDE) for name in ("rows", "columns")] if fixed_size else sides
        pixels = [Dim(name, min=2, max=2**15) for name in ("height", "width")]
        shapes = {"images": {**batch, 1: pixels[0], 2: pixels[1]}, "frame": dict(enumerate(frame))}
    else:
        inputs = images, image_sizes
        free = {} if fixed_size else {2: sides[0], 3: sides[1]}
        shapes = {"images": {**batch, **free}, "image_sizes": batch}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch about itself
        return torch.export.export(
            model,
            inputs,
            dynamic_shapes=shapes,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
