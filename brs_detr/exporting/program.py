"""Trace a model with preprocessing and half precision where asked for, and write it in PyTorch's own formats."""

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


PARTS = 2048  # a weight of bilinear interpolation is a whole number of these


class PreparedModel(nn.Module):
    """A model of prepared images as one of decoded images.

    Args:
        model: of ``images`` and ``image_sizes``; its first result are boxes in pixels.
        settings: what is to be done before.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, settings: Preprocessing) -> None:
        super().__init__()
        self.model, self.fixed_size = model, settings.fixed_size
        self.register_buffer("mean", torch.tensor(settings.mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(settings.std, dtype=torch.float32))

    def forward(self, images: Tensor, frame: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Detect.

        Args:
            images: uint8 ``[B, H, W, 3]``, RGB.
            frame: ``[h, w]``, of which only the shape counts: the size to resize to. (As a shape it is known while the
                model is traced.)

        Returns:
            Boxes in pixels of the images that went in, scores and labels, see `brs_detr.runtime.artefact_info`; and
            what was computed on the way, the ``prepared`` images included.
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
    """Resize uint8 ``[B, H, W, C]`` to whole numbers in float32 ``[B, h, w, C]``, as OpenCV does bilinearly."""
    left, right, left_parts, right_parts = _neighbours(images.shape[2], w, images, repeat_once=True)
    columns = images.index_select(2, left).int() * left_parts[:, None]
    columns = columns + images.index_select(2, right).int() * right_parts[:, None]
    above, below, above_parts, below_parts = _neighbours(images.shape[1], h, images, repeat_once=False)
    kept_digits = _quotient(columns, 16)
    quarters = _quotient(kept_digits.index_select(1, above) * above_parts[:, None, None], PARTS * 32)
    quarters = quarters + _quotient(kept_digits.index_select(1, below) * below_parts[:, None, None], PARTS * 32)
    return _quotient(quarters + 2, 4).float()


def _neighbours(old: int, new: int, like: Tensor, repeat_once: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two pixels of a side that each new pixel is made of, ``[new]`` each, and their weights in `PARTS`.

    Args:
        old, new: pixels of the side.
        like: on whose device to work.
        repeat_once: beyond the outer pixels give one of the two all the weight. OpenCV does so for columns, and keeps
            both weights for rows, which rounds differently.
    """
    step = 1 / (_number(new, like) / _number(old, like))
    places = ((torch.arange(new, device=like.device, dtype=torch.float64) + 0.5) * step - 0.5).float()
    cells = places.floor()
    fraction = places - cells
    first = cells.long()
    if repeat_once:
        fraction = fraction.masked_fill((first < 0) | (first >= old - 1), 0.0)
    second_parts, first_parts = ((part * PARTS).round().int() for part in (fraction, 1 - fraction))
    return first.clamp(0, old - 1), (first + 1).clamp(0, old - 1), first_parts, second_parts


def _number(side: int, like: Tensor) -> Tensor:
    """A size as a tensor: as a symbol, a quotient of it would be exported with the digits of float32."""
    return torch.full((), side, dtype=torch.float64, device=like.device)


def _quotient(values: Tensor, divisor: int) -> Tensor:
    """The whole part, for values from 0: an integer division would be exported with the digits of float32."""
    return (values.double() / divisor).floor().int()


KEPT_NAMES = (
    *("cls_branches", "reg_branches", "enc_output", "pos_trans", "downsample", "sampling_offsets", "attention_weights"),
    *("rpn_cls", "rpn_reg", "atss_cls", "atss_reg", "atss_centerness", "fc_cls", "fc_reg"),
)
"""Layers of logits, boxes and places: half precision ties scores and moves boxes by pixels."""


class HalfLayer(nn.Module):
    """A layer that multiplies in half precision, and takes and gives what it did before.

    Sums, norms, softmax and positions around it stay in float32: in float16 they overflow or lose their digits.
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
    """Put a `HalfLayer` around every convolution and linear layer of a model but those of `KEPT_NAMES`.

    Args:
        model: changed in place.
        dtype: `torch.float16` or `torch.bfloat16`.

    Returns:
        The number of layers that were changed.
    """
    chosen = [
        (parent, name, child)
        for path, parent in model.named_modules()
        if not isinstance(parent, nn.MultiheadAttention)  # it reads the weights of its layers
        for name, child in parent.named_children()
        if isinstance(child, (nn.Conv2d, nn.Linear)) and not _is_kept(f"{path}.{name}")
    ]
    for parent, name, child in chosen:
        setattr(parent, name, HalfLayer(child, dtype))
    return len(chosen)


def _is_kept(path: str) -> bool:
    return any(part in KEPT_NAMES for part in path.split("."))


def write_compiled(program: ExportedProgram, path: Path) -> None:
    """Compile a program ahead of time for the processor of this machine (AOTInductor).

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
    """Save a trace of a model that `torch.jit.load` reads; sizes as in `brs_detr.exporting.program.example_inputs`."""
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that it records well
        # not strict: stages are a dictionary
        traced = torch.jit.trace(model, example_inputs(fixed_size, batch_size), check_trace=False, strict=False)
        traced.save(str(path))


def describe_archive(path: Path, info: ArtefactInfo) -> None:
    """Add the description of an artefact to its file, where PyTorch keeps files that users add."""
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{root}/extra/{METADATA_KEY}", info.to_json())
