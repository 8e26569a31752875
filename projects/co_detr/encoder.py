"""The encoder of Co-Deformable-DETR, shared by the query head and the auxiliary heads.

Token boxes are (cx, cy, w, h), normalised by the image size without padding, in the dtype of the features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.models.layers import DeformableDetrTransformerEncoder, SinePositionalEncoding
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from brs_detr.heads.numerics import in_full_precision

Shapes = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class EncodedFeatures:
    """Encoder output for a padded batch: T tokens over all levels.

    Args:
        memory: ``[B, T, C]`` encoded tokens.
        padding_mask: ``[B, T]``, true for tokens in the padding.
        spatial_shapes: (h, w) of each level.
        valid_ratios: ``[B, levels, 2]`` fraction (w, h) of each level covered by the image.
    """

    memory: Tensor
    padding_mask: Tensor
    spatial_shapes: Shapes
    valid_ratios: Tensor

    def feature_maps(self) -> tuple[Tensor, ...]:
        """Return the tokens of each level as a map ``[B, C, h, w]``."""
        tokens = self.memory.split([h * w for h, w in self.spatial_shapes], dim=1)
        return tuple(
            t.transpose(1, 2).unflatten(2, shape).contiguous()
            for t, shape in zip(tokens, self.spatial_shapes, strict=True)
        )


class Encoder(DeformableDetrTransformerEncoder):
    """Deformable DETR's encoder with positional encodings, and one more map for the auxiliary heads.

    Args:
        positional_encoding: arguments of mmdet's ``SinePositionalEncoding``.
        num_feature_levels: number of maps returned by the neck.
        checkpoint_encoder: recompute the layers in the backward pass instead of storing their activations.
        layers: arguments of mmdet's ``DeformableDetrTransformerEncoder``.
    """

    def __init__(
        self, positional_encoding: dict, num_feature_levels: int = 4, checkpoint_encoder: bool = False, **layers: Any
    ) -> None:
        super().__init__(**layers)
        self.checkpoint_encoder = checkpoint_encoder
        self.positional_encoding = SinePositionalEncoding(**positional_encoding)
        self.level_embeds = nn.Parameter(torch.randn(num_feature_levels, self.embed_dims))
        self.downsample = nn.Sequential(
            nn.Conv2d(self.embed_dims, self.embed_dims, kernel_size=3, stride=2, padding=1),
            nn.GroupNorm(32, self.embed_dims),
        )

    def init_weights(self) -> None:
        """Initialise the layers as Deformable DETR does."""
        init_transformer(self.layers)
        nn.init.normal_(self.level_embeds)

    def forward(self, feats: tuple[Tensor, ...], image_sizes: Tensor, padded_size: tuple[int, int]) -> EncodedFeatures:
        """Encode the neck's maps.

        Args:
            feats: maps ``[B, C, h, w]``, finest first.
            image_sizes: ``[B, 2]`` (h, w) of each image in pixels, without padding.
            padded_size: (h, w) of the padded batch in pixels.
        """
        dtype = torch.promote_types(feats[0].dtype, torch.float32)  # half precision cannot resolve token positions
        feats = tuple(feat.to(dtype) for feat in feats)
        masks = level_padding_masks(feats, image_sizes, padded_size)
        positions = [
            self.positional_encoding(mask).to(dtype).flatten(2).transpose(1, 2) + embed
            for mask, feat, embed in zip(masks, feats, self.level_embeds, strict=True)
        ]
        shapes = tuple((feat.shape[2], feat.shape[3]) for feat in feats)
        valid_ratios = torch.stack([valid_ratio(mask, dtype) for mask in masks], 1)
        padding_mask = torch.cat([mask.flatten(1) for mask in masks], 1)
        memory = torch.cat([f.flatten(2).transpose(1, 2) for f in feats], 1)
        inputs: dict[str, Any] = {
            "query_pos": torch.cat(positions, 1),
            "reference_points": token_centres(shapes, valid_ratios),
            **attention_inputs(shapes, padding_mask),
        }
        for layer in self.layers:
            if self.checkpoint_encoder and self.training:
                memory = checkpoint(layer, memory, use_reentrant=False, **inputs)
            else:
                memory = layer(memory, **inputs)
        return EncodedFeatures(memory, padding_mask, shapes, valid_ratios)

    def auxiliary_maps(self, encoded: EncodedFeatures) -> tuple[Tensor, ...]:
        """Return the maps for the auxiliary heads: those of the encoder and a coarser one."""
        maps = encoded.feature_maps()
        # On a CPU, the weight gradient of PyTorch's bfloat16 convolution is wrong for maps of 1 x 1
        convolution, norm = self.downsample
        return (*maps, norm(in_full_precision(convolution, maps[-1])))


def init_transformer(*parts: nn.Module) -> None:
    """Initialise matrices by Xavier, and attention by Deformable DETR's scheme."""
    for part in parts:
        for parameter in part.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for module in part.modules():
            if isinstance(module, MultiScaleDeformableAttention):
                module.init_weights()


def attention_inputs(shapes: Shapes, padding_mask: Tensor) -> dict[str, Tensor | Shapes]:
    """Return the arguments of deformable attention other than queries and values.

    mmcv's module needs the level sizes as a tensor; the one for export needs them as integers.
    """
    inputs: dict[str, Tensor | Shapes] = {"level_sizes": shapes, "key_padding_mask": padding_mask}
    if not (torch.compiler.is_exporting() or torch.jit.is_tracing()):
        inputs["spatial_shapes"] = spatial_shapes = torch.tensor(shapes, device=padding_mask.device)
        areas = spatial_shapes.prod(1)
        inputs["level_start_index"] = areas.cumsum(0) - areas
    return inputs


def level_padding_masks(feats: tuple[Tensor, ...], image_sizes: Tensor, padded_size: tuple[int, int]) -> list[Tensor]:
    """Return a mask ``[B, h, w]`` of each level, true where the nearest pixel is padding; see `Encoder.forward`."""
    masks = []
    for feat in feats:
        is_padding = []
        for axis, (cells, pixels) in enumerate(zip(feat.shape[-2:], padded_size, strict=True)):
            nearest = (torch.arange(cells, device=feat.device, dtype=torch.float32) * (pixels / cells)).floor()
            is_padding.append(nearest >= image_sizes[:, axis, None])
        masks.append(is_padding[0][:, :, None] | is_padding[1][:, None])
    return masks


def valid_ratio(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the fraction (w, h) of a level covered by the image, ``[B, 2]``, from its padding mask ``[B, h, w]``."""
    return torch.stack([(~mask[:, 0]).to(dtype).mean(1), (~mask[:, :, 0]).to(dtype).mean(1)], -1)


def level_grid(h: int, w: int, like: Tensor) -> Tensor:
    """Return the centres (x, y) of all cells of a map ``[h * w, 2]``, in units of cells."""
    y, x = torch.meshgrid(
        torch.arange(h, device=like.device, dtype=like.dtype),
        torch.arange(w, device=like.device, dtype=like.dtype),
        indexing="ij",
    )
    return torch.stack([x, y], -1).flatten(0, 1) + 0.5


def times_size(values: Tensor, h: int, w: int) -> Tensor:
    """Multiply (x, y) ``[..., 2]`` by (w, h). The size stays symbolic, as export for any image size requires."""
    return torch.stack([values[..., 0] * w, values[..., 1] * h], -1)


def token_centres(shapes: Shapes, valid_ratios: Tensor) -> Tensor:
    """Return the reference point of each token in each level ``[B, T, levels, 2]``, normalised by the padded level."""
    centres = [
        level_grid(h, w, valid_ratios) / times_size(valid_ratios[:, None, level], h, w)
        for level, (h, w) in enumerate(shapes)
    ]
    return torch.cat(centres, 1)[:, :, None] * valid_ratios[:, None]


def token_anchors(encoded: EncodedFeatures) -> tuple[Tensor, Tensor]:
    """Return the anchor of each token ``[B, T, 4]``, before the sigmoid, and whether the token is valid ``[B, T, 1]``.

    Sides are 0.05 of the image on the finest level and double with each level. Tokens in the padding or within 0.01 of
    the border are invalid; their anchors are infinite.
    """
    ratios, anchors = encoded.valid_ratios, []
    for level, (h, w) in enumerate(encoded.spatial_shapes):
        # the number of valid cells, exactly: rounding undoes the division in `valid_ratio`
        valid = times_size(ratios[:, None, level], h, w).round()
        centre = level_grid(h, w, ratios) / valid  # [B, h*w, 2]
        anchors.append(torch.cat([centre, torch.full_like(centre, 0.05 * 2.0**level)], -1))
    boxes = torch.cat(anchors, 1)
    is_valid = ((boxes > 0.01) & (boxes < 0.99)).all(-1) & ~encoded.padding_mask
    return boxes.logit().masked_fill(~is_valid[..., None], math.inf), is_valid[..., None]
