"""The query head: decoder predictions, their one-to-one losses, and losses of auxiliary queries."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models.dense_heads import DeformableDETRHead
from mmdet.models.layers import inverse_sigmoid
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from brs_detr.heads.criterion import Targets, build_criterion, split_options
from brs_detr.heads.numerics import finite_or_zero, in_full_precision
from co_detr.auxiliary_heads import AuxiliaryQueries, HeadSamples, positives_to_queries
from co_detr.decoder import (
    DecoderQueries,
    EncoderProposals,
    LookForwardTwiceDecoder,
    at_most,
    box_embedding,
    join_groups,
)
from co_detr.encoder import EncodedFeatures, init_transformer, token_anchors

FOCAL = dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=2.0)


@dataclass(frozen=True)
class QueryTargets:
    """Targets of the B * Q predictions of each of L layers.

    Args:
        labels: ``[L, B*Q]``, ``num_classes`` for background.
        weights: ``[L, B*Q]`` classification weights.
        boxes: ``[L, B*Q, 4]`` (cx, cy, w, h), normalised; zero for background.
    """

    labels: Tensor
    weights: Tensor
    boxes: Tensor


class CoDeformDETRHead(DeformableDETRHead):
    """Deformable DETR's head with its decoder, which also decodes the positives of auxiliary heads in training.

    Args:
        num_classes: number of classes without background.
        transformer: ``decoder``, the arguments of mmdet's ``DeformableDetrTransformerDecoder``, and
            ``num_auxiliary_heads``, the number of one-to-many heads whose positives become queries (default 2).
        num_queries: number of queries per image.
        max_auxiliary_queries: maximum number of positives of an auxiliary head that become queries, per image.
        merge_decoder_passes: decode all groups of queries in one pass instead of one pass per group. Results are equal
            up to rounding.
        loss_cls, loss_bbox, loss_iou: configs; boxes are (cx, cy, w, h) normalised for ``loss_bbox`` and pixels
            (x1, y1, x2, y2) for ``loss_iou``. The head also takes the options of the criterion.
        test_cfg: ``max_per_img``, the number of detections per image.
        sync_cls_avg_factor: see `Criterion`.
    """

    takes_criterion_options = True

    def __init__(
        self,
        num_classes: int,
        transformer: dict,
        num_queries: int = 300,
        max_auxiliary_queries: int = 300,
        merge_decoder_passes: bool = True,
        loss_cls: dict | None = None,
        test_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        loss_cls, options = split_options(loss_cls or FOCAL, kwargs)
        super().__init__(
            num_classes=num_classes,
            test_cfg=test_cfg or {"max_per_img": 100},
            loss_cls=loss_cls,
            num_pred_layer=transformer["decoder"]["num_layers"] + 1,
            as_two_stage=True,
            **kwargs,
        )
        self.criterion = build_criterion(
            self.loss_cls,
            {"loss_bbox": self.loss_bbox, "loss_iou": self.loss_iou},
            sync_cls_avg_factor=self.sync_cls_avg_factor,
            **options,
        )
        self.max_auxiliary_queries = max_auxiliary_queries
        self.merge_decoder_passes = merge_decoder_passes
        self.decoder = LookForwardTwiceDecoder(**transformer["decoder"])
        dims = self.embed_dims
        self.enc_output, self.enc_output_norm = nn.Linear(dims, dims), nn.LayerNorm(dims)
        self.pos_trans, self.pos_trans_norm = nn.Linear(2 * dims, 2 * dims), nn.LayerNorm(2 * dims)
        heads = range(transformer.get("num_auxiliary_heads", 2))
        self.head_pos_embed = nn.Parameter(torch.randn(len(heads), 1))
        self.aux_pos_trans = nn.ModuleList(nn.Linear(2 * dims, 2 * dims) for _ in heads)
        self.aux_pos_trans_norm = nn.ModuleList(nn.LayerNorm(2 * dims) for _ in heads)
        self.pos_feats_trans = nn.ModuleList(nn.Linear(dims, dims) for _ in heads)
        self.pos_feats_norm = nn.ModuleList(nn.LayerNorm(dims) for _ in heads)
        self.query_embedding = nn.Embedding(num_queries, dims)

    @property
    def class_layers(self) -> list[nn.Module]:
        """Classification layers: one per decoder layer, then that of the encoder's proposals."""
        return list(self.cls_branches)

    @property
    def score_layers(self) -> tuple[str, ...]:
        """Layers whose sigmoids are the scores: that of the last decoder layer."""
        return (f"cls_branches.{len(self.cls_branches) - 2}",)

    def init_weights(self) -> None:
        """Initialise as Deformable DETR does. Matching costs depend on the level of logits, so logits start low."""
        init_transformer(self.decoder, self.enc_output, self.pos_trans, self.aux_pos_trans, self.pos_feats_trans)
        nn.init.xavier_uniform_(self.head_pos_embed)
        super().init_weights()

    def propose(self, encoded: EncodedFeatures) -> EncoderProposals:
        """Propose one box per token by the last branches (two-stage Deformable DETR, appendix A.4)."""
        anchors, is_valid = token_anchors(encoded)
        memory = self.enc_output_norm(self.enc_output(encoded.memory.masked_fill(~is_valid, 0.0)))
        logits = in_full_precision(self.cls_branches[-1], memory)
        return EncoderProposals(logits, self.reg_branches[-1](memory).to(anchors.dtype) + anchors)

    def best_proposals(self, proposals: EncoderProposals) -> Tensor:
        """Return the indices ``[B, Q]`` of the best proposals, best first; Q is smaller if there are too few tokens."""
        objectness = proposals.logits[..., 0]
        return objectness.topk(at_most(self.query_embedding.num_embeddings, objectness.shape[1]), dim=1).indices

    def queries_at(self, inds: Tensor, proposals: EncoderProposals) -> DecoderQueries:
        """Build queries from the proposals at ``inds [B, Q]`` and learned content ("mixed selection", DINO)."""
        content = self.query_embedding.weight[: inds.shape[1]]
        boxes = proposals.box_logits.gather(1, inds[..., None].expand(-1, -1, 4)).detach().sigmoid()
        embedding = self.pos_trans_norm(self.pos_trans(box_embedding(boxes, self.embed_dims // 2)))
        return DecoderQueries(content.expand(inds.shape[0], -1, -1), embedding[..., : self.embed_dims], boxes)

    def auxiliary_queries(self, boxes: Tensor, feats: Tensor, head_index: int) -> DecoderQueries:
        """Build queries from the samples of an auxiliary head.

        Args:
            boxes: ``[B, Q, 4]`` (cx, cy, w, h), normalised.
            feats: ``[B, Q, C]`` features of the head at each box.
            head_index: index of the auxiliary head.
        """
        coordinates = inverse_sigmoid(boxes).sigmoid()
        embedding = self.aux_pos_trans[head_index](box_embedding(coordinates, self.embed_dims // 2))
        position, content = self.aux_pos_trans_norm[head_index](embedding).split(self.embed_dims, dim=-1)
        content = content + self.pos_feats_norm[head_index](self.pos_feats_trans[head_index](feats))
        return DecoderQueries(content, position + self.head_pos_embed[head_index], boxes)

    def decode(
        self, queries: DecoderQueries, encoded: EncodedFeatures, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute logits ``[L, B, Q, num_classes]`` and boxes ``[L, B, Q, 4]`` (cx, cy, w, h) of all decoder layers.

        Args:
            queries: Q queries per image.
            encoded: encoder output.
            attn_mask: ``[Q, Q]``, true where the query of a row must not attend to that of a column.
        """
        hidden, boxes = self.decoder(queries, encoded, self.reg_branches, attn_mask)
        logits = [in_full_precision(branch, layer) for branch, layer in zip(self.cls_branches, hidden, strict=False)]
        return torch.stack(logits), boxes

    def decode_groups(self, groups: list[DecoderQueries], encoded: EncodedFeatures) -> list[tuple[Tensor, Tensor]]:
        """Decode groups of queries that do not attend to each other, in one pass or one pass per group."""
        if not self.merge_decoder_passes:
            return [self.decode(group, encoded) for group in groups]
        queries, attn_mask = join_groups(groups)
        logits, boxes = self.decode(queries, encoded, attn_mask)
        sizes = [group.content.shape[1] for group in groups]
        return list(zip(logits.split(sizes, dim=2), boxes.split(sizes, dim=2), strict=True))

    def loss(
        self, encoded: EncodedFeatures, head_samples: list[list[HeadSamples]], samples: SampleList
    ) -> dict[str, Tensor]:
        """Compute the losses of encoder proposals (``enc_``), decoder layers (``d0.`` ...) and auxiliary queries.

        Args:
            encoded: encoder output.
            head_samples: samples of each auxiliary head in each image. The losses of their queries have the suffixes
                ``_aux0``, ``_aux1``, ...
            samples: images of the batch, with their objects.
        """
        proposals, sizes = self.propose(encoded), image_sizes(samples)
        objects = [sample.gt_instances for sample in samples]
        enc_boxes = proposals.box_logits.sigmoid()
        enc_losses = self.matched_losses(
            proposals.logits[None], enc_boxes[None], [class_agnostic(gt) for gt in objects], samples, "encoder"
        )
        losses = {f"enc_{name}": loss for name, loss in name_layers(enc_losses).items()}
        auxiliary = [
            positives_to_queries(of_head, sizes, self.num_classes, self.max_auxiliary_queries, self.criterion.batch_max)
            for of_head in head_samples
        ]
        groups = [
            self.queries_at(self.best_proposals(proposals), proposals),
            *(self.auxiliary_queries(aux.boxes, aux.feats, index) for index, aux in enumerate(auxiliary)),
        ]
        decoded, *auxiliary_decoded = self.decode_groups(groups, encoded)
        losses |= name_layers(self.matched_losses(*decoded, objects, samples))
        for index, (aux, (logits, boxes)) in enumerate(zip(auxiliary, auxiliary_decoded, strict=True)):
            targets = auxiliary_targets(aux, num_layers=len(logits))
            of_head = name_layers(self.layer_losses(logits, boxes, targets, samples, f"auxiliary {index}"))
            losses |= {f"{name}_aux{index}": loss for name, loss in of_head.items()}
        return losses

    def matched_losses(
        self, logits: Tensor, boxes: Tensor, gt: InstanceList, samples: SampleList, name: str = "decoder"
    ) -> dict[str, Tensor]:
        """Match the predictions of each layer one-to-one with objects and compute their losses; see `layer_losses`."""
        num_layers, metas = len(logits), [sample.metainfo for sample in samples]
        candidates = [list(finite_or_zero(found.detach())[0].flatten(0, 1)) for found in (logits, boxes)]
        matched = self.get_targets(*candidates, gt * num_layers, metas * num_layers)
        targets = QueryTargets(*(torch.cat(images).unflatten(0, (num_layers, -1)) for images in matched[:3]))
        return self.layer_losses(logits, boxes, targets, samples, name)

    def layer_losses(
        self, logits: Tensor, boxes: Tensor, targets: QueryTargets, samples: SampleList, name: str
    ) -> dict[str, Tensor]:
        """Compute classification, L1 and GIoU losses of L layers, ``[L]`` each.

        Args:
            logits: ``[L, B, Q, num_classes]``.
            boxes: ``[L, B, Q, 4]`` (cx, cy, w, h), normalised.
            targets: targets of all layers.
            samples: metadata of the images.
            name: identifies this set of predictions; see `Criterion.forward`.
        """
        scale = boxes.new_tensor([(w, h, w, h) for h, w in image_sizes(samples)])
        scale = scale.repeat_interleave(boxes.shape[2], dim=0)  # [B*Q, 4]
        boxes = boxes.flatten(1, 2)
        num_positives = (targets.labels < self.num_classes).sum(1).to(boxes.dtype)  # [L]
        pairs = {
            "loss_bbox": (boxes, targets.boxes),
            "loss_iou": (bbox_cxcywh_to_xyxy(boxes) * scale, bbox_cxcywh_to_xyxy(targets.boxes) * scale),
        }
        found = Targets(targets.labels, targets.weights, num_positives)
        return self.criterion(logits.flatten(1, 2), found, pairs, name)

    def predict(self, encoded: EncodedFeatures, samples: SampleList, rescale: bool = True) -> InstanceList:
        """Return the detections of the last decoder layer, best first. ``rescale``: in pixels of the original image."""
        proposals = self.propose(encoded)
        logits, boxes = self.decode_last(proposals, self.best_proposals(proposals), encoded)
        sizes = torch.tensor(image_sizes(samples), device=boxes.device)
        found = best_pairs(in_pixels(boxes, sizes), logits.sigmoid(), self.test_cfg["max_per_img"])
        results = []
        for boxes_xyxy, scores, labels, sample in zip(*found, samples, strict=True):
            if rescale:
                boxes_xyxy = boxes_xyxy / boxes_xyxy.new_tensor(sample.metainfo["scale_factor"]).repeat(2)
            results.append(InstanceData(bboxes=boxes_xyxy, scores=scores, labels=labels))
        return results

    def decode_last(self, proposals: EncoderProposals, inds: Tensor, encoded: EncodedFeatures) -> tuple[Tensor, Tensor]:
        """Return logits ``[B, Q, num_classes]`` and normalised boxes ``[B, Q, 4]`` (cx, cy, w, h) of the last layer."""
        logits, boxes = self.decode(self.queries_at(inds, proposals), encoded)
        return logits[-1], boxes[-1]


class RankingCoDeformDETRHead(CoDeformDETRHead):
    """`CoDeformDETRHead`, by its name in configs with ranking losses."""


def in_pixels(boxes: Tensor, image_sizes: Tensor) -> Tensor:
    """Convert normalised (cx, cy, w, h) ``[B, Q, 4]`` to (x1, y1, x2, y2) in pixels, clipped to ``[B, 2]`` (h, w)."""
    limits = image_sizes.flip(1).repeat(1, 2)[:, None].to(boxes.dtype)  # [B, 1, 4] w, h, w, h
    return (bbox_cxcywh_to_xyxy(boxes) * limits).clamp(min=0).minimum(limits)


def best_pairs(boxes: Tensor, scores: Tensor, num_kept: int) -> tuple[Tensor, Tensor, Tensor]:
    """Select the highest-scoring pairs of query and class in each image.

    Args:
        boxes: ``[B, Q, 4]``.
        scores: ``[B, Q, num_classes]``.
        num_kept: number K of pairs; all are kept if there are fewer.

    Returns:
        Boxes ``[B, K, 4]``, scores ``[B, K]``, descending, and labels ``[B, K]``.
    """
    num_queries, num_classes = scores.shape[1:]
    scores, best = scores.flatten(1).topk(min(num_kept, num_queries * num_classes))
    return boxes.gather(1, (best // num_classes)[..., None].expand(-1, -1, 4)), scores, best % num_classes


def image_sizes(samples: SampleList) -> list[tuple[int, int]]:
    """Return (h, w) of each image in pixels, without padding."""
    return [tuple(sample.metainfo["img_shape"][:2]) for sample in samples]


def class_agnostic(instances: InstanceData) -> InstanceData:
    """Copy the objects of an image with class 0, as class-agnostic targets."""
    agnostic = copy.copy(instances)
    agnostic.labels = torch.zeros_like(instances.labels)
    return agnostic


def auxiliary_targets(queries: AuxiliaryQueries, num_layers: int) -> QueryTargets:
    """Return the targets of auxiliary queries: in each layer, the objects assigned by their head."""
    fields = queries.labels, queries.is_sample.to(queries.boxes.dtype), queries.target_boxes
    joined = (field.flatten(0, 1) for field in fields)
    return QueryTargets(*(field.expand(num_layers, *field.shape) for field in joined))


def name_layers(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Split losses ``[L]`` by layer, named as in mmdet: the last without a prefix, the others ``d0.``, ``d1.``, ..."""
    *others, named = (dict(zip(losses, layer, strict=True)) for layer in zip(*losses.values(), strict=True))
    for index, layer in enumerate(others):
        named |= {f"d{index}.{name}": loss for name, loss in layer.items()}
    return named
