"""The transformer of Co-Deformable-DETR: encoder, two-stage proposals, decoder.

Boxes inside the transformer are (cx, cy, w, h) divided by the size of the image without its padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.models.layers import (
    DeformableDetrTransformerDecoder,
    DeformableDetrTransformerEncoder,
    SinePositionalEncoding,
    inverse_sigmoid,
)
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from brs_detr.heads.precision import in_full_precision
from co_detr.at_most import at_most
from co_detr.token_geometry import box_embedding, level_padding_masks, token_anchors, token_centres, valid_ratio


@dataclass(frozen=True)
class EncodedFeatures:
    """The encoder's output for a padded batch, T tokens over all levels.

    Args:
        memory: ``[B, T, C]`` tokens.
        padding_mask: ``[B, T]``, true where a token lies in the padding.
        spatial_shapes: (h, w) of each level.
        valid_ratios: ``[B, levels, 2]`` share (w, h) of each level that is image, not padding.
    """

    memory: Tensor
    padding_mask: Tensor
    spatial_shapes: tuple[tuple[int, int], ...]
    valid_ratios: Tensor

    def feature_maps(self) -> tuple[Tensor, ...]:
        """The tokens as one map ``[B, C, h, w]`` a level."""
        tokens = self.memory.split([h * w for h, w in self.spatial_shapes], dim=1)
        return tuple(
            t.transpose(1, 2).unflatten(2, shape).contiguous()
            for t, shape in zip(tokens, self.spatial_shapes, strict=True)
        )


@dataclass(frozen=True)
class EncoderProposals:
    """A box and class logits for every encoder token.

    Args:
        logits: ``[B, T, num_classes]``; column 0 is the objectness that selects queries.
        box_logits: ``[B, T, 4]`` boxes before the sigmoid; infinite where a token proposes nothing.
    """

    logits: Tensor
    box_logits: Tensor


@dataclass(frozen=True)
class DecoderQueries:
    """What enters the decoder: ``content`` and ``position`` ``[B, Q, C]``, ``reference_boxes`` ``[B, Q, 4]``."""

    content: Tensor
    position: Tensor
    reference_boxes: Tensor


class LookForwardTwiceDecoder(DeformableDetrTransformerDecoder):
    """Deformable DETR's decoder whose boxes keep their gradient to the next layer ("look forward twice", DINO)."""

    def forward(self, queries: DecoderQueries, reg_branches: nn.ModuleList, valid_ratios: Tensor, **attention: Any):
        """Run all L layers.

        Returns:
            The layers' outputs ``[L, B, Q, C]`` and the boxes that they predict ``[L, B, Q, 4]``.
        """
        hidden, reference = queries.content, queries.reference_boxes
        level_scale = torch.cat([valid_ratios, valid_ratios], -1)[:, None]  # [B, 1, levels, 4]
        outputs, boxes = [], []
        start = reference  # the same boxes, with the gradient to the layer before
        for layer, reg_branch in zip(self.layers, reg_branches, strict=False):
            hidden = layer(
                hidden,
                query_pos=queries.position,
                reference_points=reference[:, :, None] * level_scale,
                valid_ratios=valid_ratios,
                **attention,
            )
            offset = reg_branch(hidden).to(reference.dtype)
            outputs.append(hidden)
            boxes.append((offset + inverse_sigmoid(start)).sigmoid())
            start = (offset + inverse_sigmoid(reference)).sigmoid()
            reference = start.detach()
        return torch.stack(outputs), torch.stack(boxes)


class CoDeformableDetrTransformer(BaseModule):
    """Deformable DETR's transformer with two-stage proposals and a second way in, for auxiliary queries.

    Args:
        encoder: arguments of mmdet's ``DeformableDetrTransformerEncoder``.
        decoder: arguments of mmdet's ``DeformableDetrTransformerDecoder``.
        positional_encoding: arguments of mmdet's ``SinePositionalEncoding``.
        num_feature_levels: maps that the neck gives.
        num_auxiliary_heads: one-to-many heads whose positives become queries.
        checkpoint_encoder: keep little of the encoder for the backward pass, which computes its layers anew.
    """

    def __init__(
        self,
        encoder: dict,
        decoder: dict,
        positional_encoding: dict,
        num_feature_levels: int = 4,
        num_auxiliary_heads: int = 2,
        checkpoint_encoder: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.checkpoint_encoder = checkpoint_encoder
        self.encoder = DeformableDetrTransformerEncoder(**encoder)
        self.decoder = LookForwardTwiceDecoder(**decoder)
        self.positional_encoding = SinePositionalEncoding(**positional_encoding)
        dims = self.embed_dims = self.encoder.embed_dims
        self.level_embeds = nn.Parameter(torch.randn(num_feature_levels, dims))
        self.enc_output, self.enc_output_norm = nn.Linear(dims, dims), nn.LayerNorm(dims)
        self.pos_trans, self.pos_trans_norm = nn.Linear(2 * dims, 2 * dims), nn.LayerNorm(2 * dims)
        heads = range(num_auxiliary_heads)
        self.head_pos_embed = nn.Parameter(torch.randn(num_auxiliary_heads, 1))
        self.aux_pos_trans = nn.ModuleList(nn.Linear(2 * dims, 2 * dims) for _ in heads)
        self.aux_pos_trans_norm = nn.ModuleList(nn.LayerNorm(2 * dims) for _ in heads)
        self.pos_feats_trans = nn.ModuleList(nn.Linear(dims, dims) for _ in heads)
        self.pos_feats_norm = nn.ModuleList(nn.LayerNorm(dims) for _ in heads)

    def init_weights(self) -> None:
        """Xavier for every matrix, Deformable DETR's own scheme for its attention."""
        super().init_weights()
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, MultiScaleDeformableAttention):
                module.init_weights()
        nn.init.normal_(self.level_embeds)

    def encode(self, feats: tuple[Tensor, ...], image_sizes: Tensor, padded_size: tuple[int, int]) -> EncodedFeatures:
        """Encode the neck's maps.

        Args:
            feats: maps ``[B, C, h, w]``, finest first.
            image_sizes: ``[B, 2]`` (h, w) of each image, in pixels of the padded batch.
            padded_size: (h, w) of the batch.
        """
        dtype = torch.promote_types(feats[0].dtype, torch.float32)  # half precision cannot tell tokens apart
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
        attention = attention_inputs(shapes, padding_mask)
        position = torch.cat(positions, 1)
        reference_points = token_centres(shapes, valid_ratios)
        for layer in self.encoder.layers:
            inputs: dict[str, Any] = {"query_pos": position, "reference_points": reference_points, **attention}
            if self.checkpoint_encoder and self.training:
                memory = checkpoint(layer, memory, use_reentrant=False, **inputs)
            else:
                memory = layer(memory, **inputs)
        return EncodedFeatures(memory, padding_mask, shapes, valid_ratios)

    def propose(self, encoded: EncodedFeatures, cls_branch: nn.Module, reg_branch: nn.Module) -> EncoderProposals:
        """Propose one box a token (two-stage Deformable DETR, appendix A.4)."""
        anchors, is_valid = token_anchors(encoded.spatial_shapes, encoded.valid_ratios, encoded.padding_mask)
        memory = encoded.memory.masked_fill(~is_valid, 0.0)
        memory = self.enc_output_norm(self.enc_output(memory))
        return EncoderProposals(in_full_precision(cls_branch, memory), reg_branch(memory).to(anchors.dtype) + anchors)

    def select_queries(self, proposals: EncoderProposals, content: Tensor) -> DecoderQueries:
        """Turn the best proposals into queries with learned content ("mixed selection").

        Args:
            proposals: of the encoder.
            content: ``[Q, C]`` learned content; Q proposals are taken, or all where there are fewer.
        """
        return self.queries_at(self.best_proposals(proposals, content), proposals, content)

    def best_proposals(self, proposals: EncoderProposals, content: Tensor) -> Tensor:
        """Places ``[B, Q]`` of the best proposals, best first: one for each row of the learned content ``[Q, C]``."""
        objectness = proposals.logits[..., 0]
        return objectness.topk(at_most(len(content), objectness.shape[1]), dim=1).indices  # a tiny image has few tokens

    def queries_at(self, places: Tensor, proposals: EncoderProposals, content: Tensor) -> DecoderQueries:
        """Turn the proposals at ``[B, Q]`` places into queries, with the first Q of the learned content."""
        content = content[: places.shape[1]]
        box_logits = proposals.box_logits.gather(1, places[..., None].expand(-1, -1, 4)).detach()
        embedding = self.pos_trans_norm(self.pos_trans(box_embedding(box_logits.sigmoid(), self.embed_dims // 2)))
        position = embedding[..., : self.embed_dims]
        return DecoderQueries(content.expand(places.shape[0], -1, -1), position, box_logits.sigmoid())

    def embed_auxiliary_queries(self, boxes: Tensor, feats: Tensor, head_index: int) -> DecoderQueries:
        """Turn the samples of an auxiliary head into queries.

        Args:
            boxes: ``[B, Q, 4]`` (cx, cy, w, h), normalised.
            feats: ``[B, Q, C]`` what the head saw at each box.
            head_index: which auxiliary head.
        """
        coordinates = inverse_sigmoid(boxes).sigmoid()
        embedding = self.aux_pos_trans[head_index](box_embedding(coordinates, self.embed_dims // 2))
        position, content = self.aux_pos_trans_norm[head_index](embedding).split(self.embed_dims, dim=-1)
        content = content + self.pos_feats_norm[head_index](self.pos_feats_trans[head_index](feats))
        return DecoderQueries(content, position + self.head_pos_embed[head_index], boxes)

    def decode(
        self,
        queries: DecoderQueries,
        encoded: EncodedFeatures,
        reg_branches: nn.ModuleList,
        sees_not: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode queries; returns hidden states ``[L, B, Q, C]`` and boxes ``[L, B, Q, 4]`` of every layer.

        Args:
            queries: Q an image.
            encoded: features of the batch.
            reg_branches: one for each layer.
            sees_not: ``[Q, Q]``, true where a query (row) must not look at another (column).
        """
        return self.decoder(
            queries,
            reg_branches,
            encoded.valid_ratios,
            value=encoded.memory,
            self_attn_mask=sees_not,
            **attention_inputs(encoded.spatial_shapes, encoded.padding_mask),
        )


def join_groups(groups: list[DecoderQueries]) -> tuple[DecoderQueries, Tensor]:
    """Queries of several groups as one, and a mask ``[Q, Q]``, true between queries of different groups."""
    fields = ((group.content, group.position, group.reference_boxes) for group in groups)
    joined = DecoderQueries(*(torch.cat(parts, 1) for parts in zip(*fields, strict=True)))
    device = joined.content.device
    group_of = torch.cat([torch.full((group.content.shape[1],), i, device=device) for i, group in enumerate(groups)])
    return joined, group_of[:, None] != group_of


def attention_inputs(
    shapes: tuple[tuple[int, int], ...], padding_mask: Tensor
) -> dict[str, Tensor | tuple[tuple[int, int], ...]]:
    """The arguments that deformable attention takes besides queries and values.

    mmcv's module reads the sizes of the levels from a tensor; the one in an exported graph takes them as numbers.
    """
    inputs: dict[str, Tensor | tuple[tuple[int, int], ...]]
    inputs = {"level_sizes": shapes, "key_padding_mask": padding_mask}
    if not (torch.compiler.is_exporting() or torch.jit.is_tracing()):
        inputs["spatial_shapes"] = spatial_shapes = torch.tensor(shapes, device=padding_mask.device)
        areas = spatial_shapes.prod(1)
        inputs["level_start_index"] = areas.cumsum(0) - areas
    return inputs
