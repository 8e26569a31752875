"""The query head: decoder predictions, their one-to-one losses, and the losses of auxiliary queries."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from mmdet.models.dense_heads import DeformableDETRHead
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from mmdet.utils import InstanceList, reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor, nn

from brs_detr.heads.box_loss import layer_box_loss
from brs_detr.heads.classification import ClassificationLossMixin, ClassificationTargets
from brs_detr.heads.finite import finite_or_zero
from brs_detr.heads.precision import in_full_precision
from co_detr.positive_queries import AuxiliaryQueries, HeadSamples, positives_to_queries
from co_detr.transformer import (
    CoDeformableDetrTransformer,
    DecoderQueries,
    EncodedFeatures,
    EncoderProposals,
    join_groups,
)


@dataclass(frozen=True)
class QueryTargets:
    """Targets of the B * Q predictions of each of L layers, image by image.

    Args:
        labels: ``[L, B*Q]``, ``num_classes`` for background.
        weights: ``[L, B*Q]`` weight in classification.
        boxes: ``[L, B*Q, 4]`` (cx, cy, w, h), normalised; zero for background.
        is_positive: ``[L, B*Q]``.
    """

    labels: Tensor
    weights: Tensor
    boxes: Tensor
    is_positive: Tensor


class CoDeformDETRHead(ClassificationLossMixin, DeformableDETRHead):
    """Deformable DETR's head with its transformer, fed a second time with the positives of auxiliary heads.

    Args:
        num_classes: classes without the background.
        transformer: arguments of `CoDeformableDetrTransformer`.
        num_queries: queries an image.
        max_auxiliary_queries: most positives of an auxiliary head that become queries, an image.
        merge_decoder_passes: decode these queries together with the others, in one pass instead of one for each head:
            the same up to rounding, in fewer and larger operations.
        loss_cls, loss_bbox, loss_iou: configs; boxes are (cx, cy, w, h) normalised for ``loss_bbox`` and pixels
            (x1, y1, x2, y2) for ``loss_iou``.
        test_cfg: ``max_per_img`` detections an image, best first.
        sync_cls_avg_factor: average the number of positives over processes.
    """

    def __init__(
        self,
        num_classes: int,
        transformer: dict,
        num_queries: int = 300,
        max_auxiliary_queries: int = 300,
        merge_decoder_passes: bool = True,
        loss_cls: dict | None = None,
        test_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            test_cfg=test_cfg or {"max_per_img": 100},
            loss_cls=loss_cls or dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=2.0),
            num_pred_layer=transformer["decoder"]["num_layers"] + 1,
            as_two_stage=True,
            **kwargs,
        )
        self.max_auxiliary_queries = max_auxiliary_queries
        self.merge_decoder_passes = merge_decoder_passes
        self.transformer = CoDeformableDetrTransformer(**transformer)
        self.query_embedding = nn.Embedding(num_queries, self.embed_dims)
        self.downsample = nn.Sequential(
            nn.Conv2d(self.embed_dims, self.embed_dims, kernel_size=3, stride=2, padding=1),
            nn.GroupNorm(32, self.embed_dims),
        )

    @property
    def class_layers(self) -> list[nn.Module]:
        """Layers that give a logit a class: of every decoder layer, then of the encoder's proposals."""
        return list(self.cls_branches)

    @property
    def score_layers(self) -> tuple[str, ...]:
        """Layers whose logits become scores by a sigmoid alone: the one of the last decoder layer."""
        return (f"cls_branches.{len(self.cls_branches) - 2}",)

    def init_weights(self) -> None:
        """Initialise the transformer, then the branches."""
        self.transformer.init_weights()
        super().init_weights()

    def encode(self, feats: tuple[Tensor, ...], samples: SampleList) -> EncodedFeatures:
        """Encode the neck's maps ``[B, C, h, w]``."""
        sizes = torch.tensor(image_sizes(samples), device=feats[0].device)
        return self.transformer.encode(feats, sizes, samples[0].metainfo["batch_input_shape"])

    def feature_maps(self, encoded: EncodedFeatures) -> tuple[Tensor, ...]:
        """The encoder's maps and a coarser one: what the auxiliary heads see."""
        maps = encoded.feature_maps()
        # PyTorch's bfloat16 convolution on a CPU leaves garbage in the weight's gradient when the map is 1 x 1
        convolution, norm = self.downsample
        return (*maps, norm(in_full_precision(convolution, maps[-1])))

    def propose(self, encoded: EncodedFeatures) -> EncoderProposals:
        """One proposal an encoder token, by the last branches."""
        return self.transformer.propose(encoded, self.cls_branches[-1], self.reg_branches[-1])

    def decode(
        self, queries: DecoderQueries, encoded: EncodedFeatures, sees_not: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits ``[L, B, Q, num_classes]`` and boxes ``[L, B, Q, 4]`` (cx, cy, w, h) of every decoder layer.

        Args:
            queries: Q an image.
            encoded: features of the batch.
            sees_not: ``[Q, Q]``, true where a query (row) must not look at another (column).
        """
        hidden, boxes = self.transformer.decode(queries, encoded, self.reg_branches, sees_not)
        logits = [in_full_precision(branch, layer) for branch, layer in zip(self.cls_branches, hidden, strict=False)]
        return torch.stack(logits), boxes

    def decode_groups(self, groups: list[DecoderQueries], encoded: EncodedFeatures) -> list[tuple[Tensor, Tensor]]:
        """`decode` for groups of queries that do not see each other, in one pass or in one for each."""
        if not self.merge_decoder_passes:
            return [self.decode(group, encoded) for group in groups]
        queries, sees_not = join_groups(groups)
        logits, boxes = self.decode(queries, encoded, sees_not)
        sizes = [group.content.shape[1] for group in groups]
        return list(zip(logits.split(sizes, dim=2), boxes.split(sizes, dim=2), strict=True))

    def loss(
        self, encoded: EncodedFeatures, head_samples: list[list[HeadSamples]], samples: SampleList
    ) -> dict[str, Tensor]:
        """Losses of the encoder's proposals (``enc_``), of every decoder layer (``d0.`` ...) and of auxiliary queries.

        Args:
            encoded: features of the batch.
            head_samples: what each auxiliary head trained on, in each image; names of the losses of queries made of the
                positives end with ``_aux0``, ``_aux1``, ...
            samples: of the batch.
        """
        proposals = self.propose(encoded)
        gt = [sample.gt_instances for sample in samples]
        objects = [class_agnostic(instances) for instances in gt]
        enc_boxes = proposals.box_logits.sigmoid()
        enc_losses = self.matched_losses(proposals.logits[None], enc_boxes[None], objects, samples, "encoder")
        sizes = image_sizes(samples)
        auxiliary = [
            positives_to_queries(of_head, sizes, self.num_classes, self.max_auxiliary_queries, self.largest_number)
            for of_head in head_samples
        ]
        groups = [
            self.transformer.select_queries(proposals, self.query_embedding.weight),
            *(self.transformer.embed_auxiliary_queries(aux.boxes, aux.feats, i) for i, aux in enumerate(auxiliary)),
        ]
        decoded, *auxiliary_decoded = self.decode_groups(groups, encoded)
        losses = {f"enc_{name}": loss for name, loss in name_layers(enc_losses).items()}
        losses |= name_layers(self.matched_losses(*decoded, gt, samples))
        for index, (aux, (logits, boxes)) in enumerate(zip(auxiliary, auxiliary_decoded, strict=True)):
            targets = auxiliary_targets(aux, num_layers=len(logits))
            of_head = name_layers(self.layer_losses(logits, boxes, targets, samples, f"auxiliary {index}"))
            losses |= {f"{name}_aux{index}": loss for name, loss in of_head.items()}
        return losses

    def largest_number(self, number: int) -> int:
        """Largest value of a number in the batch; what divides a batch among processes can look at all of them."""
        return number

    def matched_losses(
        self, logits: Tensor, boxes: Tensor, gt: InstanceList, samples: SampleList, group: str = "decoder"
    ) -> dict[str, Tensor]:
        """Match the predictions of each layer with objects one to one, then score them (see `layer_losses`)."""
        num_layers, metas = len(logits), [sample.metainfo for sample in samples]
        candidates = [list(finite_or_zero(found.detach())[0].flatten(0, 1)) for found in (logits, boxes)]
        matched = self.get_targets(*candidates, gt * num_layers, metas * num_layers)
        labels, weights, target_boxes, box_weights = (
            torch.cat(images).unflatten(0, (num_layers, -1)) for images in matched[:4]
        )
        targets = QueryTargets(labels, weights, target_boxes, box_weights[..., 0] > 0)
        return self.layer_losses(logits, boxes, targets, samples, group)

    def layer_losses(
        self, logits: Tensor, boxes: Tensor, targets: QueryTargets, samples: SampleList, group: str
    ) -> dict[str, Tensor]:
        """Classification, L1 and GIoU losses of L layers, ``[L]`` each.

        Args:
            logits: ``[L, B, Q, num_classes]``.
            boxes: ``[L, B, Q, 4]`` (cx, cy, w, h), normalised.
            targets: of the layers.
            samples: of the batch.
            group: what the predictions are called among those of this head.
        """
        scale = boxes.new_tensor([(w, h, w, h) for h, w in image_sizes(samples)])
        scale = scale.repeat_interleave(boxes.shape[2], dim=0)  # [B*Q, 4]
        boxes = boxes.flatten(1, 2)
        boxes_xyxy = bbox_cxcywh_to_xyxy(boxes) * scale
        target_boxes_xyxy = bbox_cxcywh_to_xyxy(targets.boxes) * scale
        num_positives = targets.is_positive.sum(1).to(boxes.dtype)  # [L]
        synced_positives = reduce_mean(num_positives).clamp(min=1)
        classification = self.classification_loss(
            logits.flatten(1, 2),
            ClassificationTargets(
                targets.labels,
                targets.weights,
                bbox_overlaps(boxes_xyxy.detach(), target_boxes_xyxy, is_aligned=True),
                synced_positives if self.sync_cls_avg_factor else num_positives.clamp(min=1),
                group,
            ),
        )
        counted = targets.is_positive, synced_positives
        box_losses = {
            "loss_bbox": layer_box_loss(self.loss_bbox, boxes, targets.boxes, *counted),
            "loss_iou": layer_box_loss(self.loss_iou, boxes_xyxy, target_boxes_xyxy, *counted),
        }
        return classification | self.weigh_box_losses(box_losses, classification)

    def predict(self, encoded: EncodedFeatures, samples: SampleList, rescale: bool = True) -> InstanceList:
        """Detections of the last decoder layer, best first, in pixels of the original image if ``rescale``."""
        sizes = torch.tensor(image_sizes(samples), device=encoded.memory.device)
        found = best_pairs(*self.candidates(encoded, sizes), self.test_cfg["max_per_img"])
        results = []
        for boxes_xyxy, scores, labels, sample in zip(*found, samples, strict=True):
            if rescale:
                boxes_xyxy = boxes_xyxy / boxes_xyxy.new_tensor(sample.metainfo["scale_factor"]).repeat(2)
            results.append(InstanceData(bboxes=boxes_xyxy, scores=scores, labels=labels))
        return results

    def candidates(self, encoded: EncodedFeatures, image_sizes: Tensor) -> tuple[Tensor, Tensor]:
        """What the last decoder layer predicts.

        Args:
            encoded: features of the batch.
            image_sizes: ``[B, 2]`` (h, w) of each image in pixels, without padding.

        Returns:
            Boxes ``[B, Q, 4]`` (x1, y1, x2, y2) in pixels, within the image, and scores ``[B, Q, num_classes]``.
        """
        proposals = self.propose(encoded)
        logits, boxes = self.decode_last(proposals, self.best_proposals(proposals), encoded)
        return in_pixels(boxes, image_sizes), logits.sigmoid()

    def best_proposals(self, proposals: EncoderProposals) -> Tensor:
        """Places ``[B, Q]`` of the proposals that become queries, best first."""
        return self.transformer.best_proposals(proposals, self.query_embedding.weight)

    def decode_last(
        self, proposals: EncoderProposals, places: Tensor, encoded: EncodedFeatures
    ) -> tuple[Tensor, Tensor]:
        """Logits ``[B, Q, num_classes]`` and boxes ``[B, Q, 4]`` (cx, cy, w, h), normalised, of the last layer."""
        queries = self.transformer.queries_at(places, proposals, self.query_embedding.weight)
        logits, boxes = self.decode(queries, encoded)
        return logits[-1], boxes[-1]


def in_pixels(boxes: Tensor, image_sizes: Tensor) -> Tensor:
    """Normalised boxes ``[B, Q, 4]`` (cx, cy, w, h) as (x1, y1, x2, y2) in pixels, within ``[B, 2]`` (h, w)."""
    limits = image_sizes.flip(1).repeat(1, 2)[:, None].to(boxes.dtype)  # [B, 1, 4] w, h, w, h
    return (bbox_cxcywh_to_xyxy(boxes) * limits).clamp(min=0).minimum(limits)


def best_pairs(boxes: Tensor, scores: Tensor, num_kept: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best pairs of a query and a class, in each image.

    Args:
        boxes: ``[B, Q, 4]``.
        scores: ``[B, Q, num_classes]``.
        num_kept: K pairs are kept, or all where there are fewer.

    Returns:
        Boxes ``[B, K, 4]``, scores ``[B, K]``, descending, and labels ``[B, K]``.
    """
    num_queries, num_classes = scores.shape[1:]
    scores, best = scores.flatten(1).topk(min(num_kept, num_queries * num_classes))
    return boxes.gather(1, (best // num_classes)[..., None].expand(-1, -1, 4)), scores, best % num_classes


def image_sizes(samples: SampleList) -> list[tuple[int, int]]:
    """(h, w) of each image in pixels, without padding."""
    return [tuple(sample.metainfo["img_shape"][:2]) for sample in samples]


def class_agnostic(instances: InstanceData) -> InstanceData:
    """The objects of an image, all of class 0: targets of what tells objects from background."""
    agnostic = copy.copy(instances)
    agnostic.labels = torch.zeros_like(instances.labels)
    return agnostic


def auxiliary_targets(queries: AuxiliaryQueries, num_layers: int) -> QueryTargets:
    """Auxiliary queries keep, in every layer, the objects that their head assigned."""
    weights = queries.is_sample.to(queries.boxes.dtype)
    fields = (queries.labels, weights, queries.target_boxes, queries.is_positive)
    joined = (field.flatten(0, 1) for field in fields)
    return QueryTargets(*(field.expand(num_layers, *field.shape) for field in joined))


def name_layers(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name losses ``[L]`` of layers as mmdet does: the last layer's plainly, the others ``d0.``, ``d1.`` ..."""
    *others, named = (dict(zip(losses, layer, strict=True)) for layer in zip(*losses.values(), strict=True))
    for index, layer in enumerate(others):
        named |= {f"d{index}.{name}": loss for name, loss in layer.items()}
    return named
