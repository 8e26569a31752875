"""Trace a model, with optional preprocessing and half precision, and write it in PyTorch's own formats."""

from __future__ import annotations

import logging
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from brs_detr.errors import UserError
from brs_detr.runtime.artefact_info import METADATA_KEY, ArtefactInfo, Preprocessing

if TYPE_CHECKING:
    from torch.export import ExportedProgram

LARGEST_SIDE = 8192
LARGEST_BATCH = 256
EXAMPLE_SIZE = (320, 416)


def example_inputs(fixed_size: tuple[int, int] | None, batch_size: int | None) -> tuple[Tensor, Tensor]:
    """Make images ``[B, 3, H, W]`` and their sizes ``[B, 2]`` to trace a model with.

    Args:
        fixed_size: fixed (h, w) of the images; None for any size.
        batch_size: fixed size of the batches; None for any size.
    """
    height, width = fixed_size or EXAMPLE_SIZE
    batch_size = batch_size or 2
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([(height - 8 * index, width - 16 * index) for index in range(batch_size)]).clamp(min=1)
    return torch.randn(batch_size, 3, height, width, generator=generator), sizes


def export_program(
    model: nn.Module, fixed_size: tuple[int, int] | None, batch_size: int | None, smallest_side: int
) -> ExportedProgram:
    """Trace a model.

    Args:
        model: takes ``images`` and ``image_sizes``, or is a `PreparedModel`.
        fixed_size: fixed (h, w) of prepared images; None for any size.
        batch_size: fixed size of the batches; None for any size.
        smallest_side: smallest side of prepared images of any size, in pixels.
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
        warnings.simplefilter("ignore")
        return torch.export.export(
            model,
            inputs,
            dynamic_shapes=shapes,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )


PARTS = 2048
"""Weights of bilinear interpolation are multiples of 1 / `PARTS`."""


class PreparedModel(nn.Module):
    """Adds the preprocessing to a model, so that it takes decoded images.

    Args:
        model: takes prepared ``images`` and ``image_sizes``; its first output is boxes in pixels.
        settings: the preprocessing.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, settings: Preprocessing) -> None:
        super().__init__()
        self.model, self.fixed_size = model, settings.fixed_size
        self.register_buffer("mean", torch.tensor(settings.mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(settings.std, dtype=torch.float32))

    def forward(self, images: Tensor, frame: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Detect objects.

        Args:
            images: uint8 ``[B, H, W, 3]``, RGB.
            frame: tensor of shape ``[h, w]``, the size to resize to. Its values are not used: tracing needs the size as
                a shape.

        Returns:
            Boxes in pixels of ``images``, scores and labels as in `brs_detr.runtime.artefact_info`, and the stages by
            name, including the ``prepared`` images.
        """
        (old_h, old_w), (h, w) = images.shape[1:3], frame.shape
        prepared = ((resize(images, h, w) - self.mean) / self.std).permute(0, 3, 1, 2)
        if self.fixed_size is not None:
            prepared = F.pad(prepared, (0, self.fixed_size[1] - w, 0, self.fixed_size[0] - h))
        size = torch.stack([_number(side, images) for side in (h, w)])
        old = torch.stack([_number(side, images) for side in (old_h, old_w)])
        boxes, scores, labels, stages = self.model(prepared, size.long().expand(images.shape[0], 2))
        stages["prepared"] = prepared
        return boxes / (size / old).float().flip(0).repeat(2), scores, labels, stages


def resize(images: Tensor, h: int, w: int) -> Tensor:
    """Resize uint8 ``[B, H, W, C]`` to float32 integers ``[B, h, w, C]``, bit for bit as OpenCV does bilinearly."""
    left, right, left_parts, right_parts = _neighbours(images.shape[2], w, images, repeat_once=True)
    columns = images.index_select(2, left).int() * left_parts[:, None]
    columns = columns + images.index_select(2, right).int() * right_parts[:, None]
    above, below, above_parts, below_parts = _neighbours(images.shape[1], h, images, repeat_once=False)
    shifted = _quotient(columns, 16)
    quarters = _quotient(shifted.index_select(1, above) * above_parts[:, None, None], PARTS * 32)
    quarters = quarters + _quotient(shifted.index_select(1, below) * below_parts[:, None, None], PARTS * 32)
    return _quotient(quarters + 2, 4).float()


def _neighbours(old: int, new: int, like: Tensor, repeat_once: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the indices ``[new]`` of the two pixels that make up each new pixel, and their weights in `PARTS`.

    The arithmetic is that of `brs_detr.runtime.processing._neighbours`.
    """
    step = 1 / (_number(new, like) / _number(old, like))
    coords = ((torch.arange(new, device=like.device, dtype=torch.float64) + 0.5) * step - 0.5).float()
    cells = coords.floor()
    fraction = coords - cells
    first = cells.long()
    if repeat_once:
        fraction = fraction.masked_fill((first < 0) | (first >= old - 1), 0.0)
    second_parts, first_parts = ((part * PARTS).round().int() for part in (fraction, 1 - fraction))
    return first.clamp(0, old - 1), (first + 1).clamp(0, old - 1), first_parts, second_parts


def _number(side: int, like: Tensor) -> Tensor:
    """Return a size as a float64 tensor. A quotient of symbolic sizes would be exported in float32."""
    return torch.full((), side, dtype=torch.float64, device=like.device)


def _quotient(values: Tensor, divisor: int) -> Tensor:
    """Return the integer quotient of non-negative values. An integer division would be exported in float32."""
    return (values.double() / divisor).floor().int()


KEPT_NAMES = {
    *("cls_branches", "reg_branches", "enc_output", "pos_trans", "downsample", "sampling_offsets", "attention_weights"),
    *("rpn_cls", "rpn_reg", "atss_cls", "atss_reg", "atss_centerness", "fc_cls", "fc_reg"),
}
"""Layers that stay in float32: they give logits, boxes and positions, and half precision would tie scores and move
boxes by pixels."""


class HalfLayer(nn.Module):
    """A layer that computes in half precision; its inputs and outputs keep their dtype.

    The sums, norms, softmax and positions around it stay in float32: in float16 they overflow or lose precision.
    """

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer = layer.to(dtype)
        self.dtype = dtype

    def forward(self, feats: Tensor) -> Tensor:
        """Run the layer."""
        output: Tensor = self.layer(feats.to(self.dtype))
        return output.to(feats.dtype)


def halve(model: nn.Module, dtype: torch.dtype) -> int:
    """Wrap convolutions and linear layers in `HalfLayer`, except those in `KEPT_NAMES`, and return their number.

    Args:
        model: changed in place.
        dtype: `torch.float16` or `torch.bfloat16`.
    """
    chosen = [
        (parent, name, child)
        for path, parent in model.named_modules()
        if not isinstance(parent, nn.MultiheadAttention)  # it reads the weights of its layers
        for name, child in parent.named_children()
        if isinstance(child, (nn.Conv2d, nn.Linear)) and not {*path.split("."), name} & KEPT_NAMES
    ]
    for parent, name, child in chosen:
        setattr(parent, name, HalfLayer(child, dtype))
    return len(chosen)


def write_compiled(program: ExportedProgram, path: Path) -> None:
    """Compile a program ahead of time for this machine (AOTInductor).

    Raises:
        UserError: there is no C++ compiler.
    """
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise UserError(
            "Compiling ahead of time needs a C++ compiler, and this machine has none.",
            "Install g++, or choose --format torch-export.",
        )
    logging.getLogger("torch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))


def write_torchscript(model: nn.Module, fixed_size: tuple[int, int] | None, batch_size: int | None, path: Path) -> None:
    """Trace a model and save it as TorchScript; the sizes are those of `example_inputs`."""
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer records sizes correctly, in spite of its warnings
        # strict tracing takes no dictionary, as the stages are
        traced = torch.jit.trace(model, example_inputs(fixed_size, batch_size), check_trace=False, strict=False)
        traced.save(str(path))


def describe_archive(path: Path, info: ArtefactInfo) -> None:
    """Store the description of an artefact in its archive, in PyTorch's folder for extra files."""
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{root}/extra/{METADATA_KEY}", info.to_json())
