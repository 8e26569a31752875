"""Expected intermediate results of an exported head, computed by the layers of the model.

An exported file selects tokens, anchors and proposals itself, and where scores are close, rounding decides. Therefore
each stage is computed from the file's own previous selections. All other operations are continuous, so two programs
with the same weights agree up to rounding. Selections are described by `Choice`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from mmdet.structures.bbox import bbox2roi
from torch import Tensor

from brs_detr.exporting.choices import Choice
from brs_detr.heads.anchors import flatten_levels
from co_detr.query_head import in_pixels

NEAR_STEP = 1e-4
"""Distance from a step of RoIAlign, in levels or samples, within which float32 may fall on either side."""


class Expected(NamedTuple):
    """Stages of one image.

    Args:
        values: values of the file and expected values, by name.
        choices: selections of the file.
    """

    values: dict[str, tuple[Tensor, Tensor]]
    choices: list[Choice]


class ExpectedStages:
    """Expected stages of one head on copies of one image.

    Args:
        model: a `CoDETR`. Its ``eval_head`` is the head and its dtype that of the computation.
        images: ``[B, 3, H, W]``, normalised and padded: all copies, or a single one.
        image_size: ``[1, 2]`` (h, w) without padding.
    """

    def __init__(self, model: Any, images: Tensor, image_size: Tensor) -> None:
        self.model, self.image_size = model, image_size
        self.shape = tuple(image_size[0].tolist())
        self.encoded = model.encode(images, image_size.expand(len(images), 2))
        if model.eval_head != "query":
            anchor_head = model.rpn_head if model.eval_head == "roi" else model.atss_head
            self.maps = model.encoder.auxiliary_maps(self.encoded)
            self.anchor_maps = anchor_head(self.maps)

    def of(self, found: Mapping[str, Tensor]) -> list[Expected]:
        """Return the expected values and the selections of each image.

        Args:
            found: stages of the file, ``[B, N, ...]`` each.
        """
        dtype = self.encoded.memory.dtype
        found = {name: stage if stage.dtype == torch.int64 else stage.to(dtype) for name, stage in found.items()}
        num_images = len(next(iter(found.values())))
        run, finish = getattr(self, f"_run_{self.model.eval_head}"), getattr(self, f"_{self.model.eval_head}")
        computed = run(found, num_images)
        return [
            finish(
                {name: stage[place] for name, stage in found.items()},
                {name: stage[place] for name, stage in computed.items()},
            )
            for place in range(num_images)
        ]

    def _run_query(self, found: Mapping[str, Tensor], num_images: int) -> dict[str, Tensor]:
        """Compute the stages from the selected queries, ``[B, N, ...]`` each."""
        head, encoded = self.model.query_head, self.encoded
        if len(encoded.memory) < num_images:
            encoded = replace(
                encoded,
                memory=_repeated(encoded.memory, num_images),
                padding_mask=_repeated(encoded.padding_mask, num_images),
                valid_ratios=_repeated(encoded.valid_ratios, num_images),
            )
        proposals = head.propose(encoded)
        logits, boxes = head.decode_last(proposals, found["queries"], encoded)
        return {
            "encoder_logits": proposals.logits[..., :1],
            "encoder_boxes": proposals.box_logits,
            "decoder_logits": logits,
            "decoder_boxes": boxes,
        }

    def _query(self, found: Mapping[str, Tensor], computed: dict[str, Tensor]) -> Expected:
        head = self.model.query_head
        expected = {
            **computed,
            "query_boxes": in_pixels(found["decoder_boxes"][None], self.image_size)[0],
            "query_scores": found["decoder_logits"].sigmoid(),
        }
        tokens, scores = found["encoder_logits"][:, 0], found["query_scores"]
        num_queries, num_classes = scores.shape
        choices = [
            Choice("queries", tokens, found["queries"], min(head.query_embedding.num_embeddings, len(tokens))),
            Choice(
                "detections",
                scores.flatten(),
                found["detections"],
                min(head.test_cfg["max_per_img"], scores.numel()),
                found["query_boxes"].repeat_interleave(num_classes, 0),
                torch.arange(num_classes).repeat(num_queries),
            ),
        ]
        return Expected({name: (found[name], value) for name, value in expected.items()}, choices)

    def _run_atss(self, found: Mapping[str, Tensor], num_images: int) -> dict[str, Tensor]:
        """Return the maps of the anchor head, ``[B, N, channels]`` each."""
        channels = {"anchor_logits": found["anchor_logits"].shape[2], "anchor_deltas": 4, "anchor_centerness": 1}
        return {
            name: _repeated(flatten_levels(maps, number), num_images)
            for (name, number), maps in zip(channels.items(), self.anchor_maps, strict=False)
        }

    def _run_roi(self, found: Mapping[str, Tensor], num_images: int) -> dict[str, Any]:
        """Compute the RPN, and the second stage on the selected proposals for which `surely_pooled` holds."""
        roi_head = self.model.roi_head
        chosen = found["anchor_boxes"].gather(1, found["proposals"].clamp(min=0)[..., None].expand(-1, -1, 4))
        rows = found["proposals"] >= 0
        rows &= surely_pooled(roi_head.bbox_roi_extractor, chosen.flatten(0, 1)).view_as(rows)
        regions = bbox2roi([boxes[some] for boxes, some in zip(chosen, rows, strict=True)])
        output = roi_head._bbox_forward(tuple(_repeated(level, num_images) for level in self.maps), regions)
        numbers = rows.sum(1).tolist()
        return {
            **self._run_atss(found, num_images),
            "proposal_boxes": chosen,
            "rows": rows,
            "region_logits": output["cls_score"].split(numbers),
            "region_deltas": output["bbox_pred"].split(numbers),
        }

    def _atss(self, found: Mapping[str, Tensor], computed: dict[str, Tensor]) -> Expected:
        head, settings = self.model.atss_head, self.model.atss_head.test_cfg
        values, choices, pairs = self._anchors(head, found, computed)
        limits = ((pairs.class_scores, settings["score_thr"]),)
        final = Choice(
            "detections",
            found["anchor_scores"],
            found["detections"],
            settings["max_per_img"],
            found["anchor_boxes"],
            pairs.labels,
            settings["nms"]["iou_threshold"],
            limits,
        )
        return Expected(values, [*choices, final])

    def _roi(self, found: Mapping[str, Tensor], computed: dict[str, Tensor]) -> Expected:
        values, choices, pairs = self._anchors(self.model.rpn_head, found, computed)
        settings, boxes = self.model.rpn_head.test_cfg, found["anchor_boxes"]
        smallest = settings.get("min_bbox_size", -1)
        sides = (boxes[:, 2:] - boxes[:, :2]).amin(1)
        proposals = Choice(
            "proposals",
            found["anchor_scores"],
            found["proposals"],
            settings["max_per_img"],
            boxes,
            pairs.levels,
            settings["nms"]["iou_threshold"],
            ((sides, smallest),) if smallest >= 0 else (),
        )
        return Expected(values | self._regions(found, computed), [*choices, proposals, self._best_regions(found)])

    def _regions(self, found: Mapping[str, Tensor], computed: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return outputs, scores and boxes of the second stage."""
        head, boxes, is_proposal = self.model.roi_head.bbox_head, computed["proposal_boxes"], found["proposals"] >= 0
        values = {name: (found[name][computed["rows"]], computed[name]) for name in ("region_logits", "region_deltas")}
        logits = found["region_logits"]
        scores = head.loss_cls.get_activation(logits) if head.custom_cls_channels else logits.softmax(-1)
        decoded = head.bbox_coder.decode(boxes, found["region_deltas"], max_shape=self.shape).unflatten(1, (-1, 4))
        values["region_scores"] = found["region_scores"], scores[:, : head.num_classes]
        values["region_boxes"] = found["region_boxes"][is_proposal], decoded[is_proposal]
        return values

    def _best_regions(self, found: Mapping[str, Tensor]) -> Choice:
        """Return the selection among all pairs of class and proposal, ordered by class."""
        settings, (num_proposals, num_classes) = self.model.roi_head.test_cfg, found["region_scores"].shape
        scores, is_proposal = found["region_scores"].T.flatten(), (found["proposals"] >= 0).double()
        return Choice(
            "detections",
            scores,
            found["detections"],
            settings["max_per_img"],
            found["region_boxes"].expand(-1, num_classes, -1).transpose(0, 1).flatten(0, 1),
            torch.arange(num_classes).repeat_interleave(num_proposals),
            settings["nms"]["iou_threshold"],
            ((scores, settings["score_thr"]), (is_proposal.repeat(num_classes), 0.5)),
        )

    def _anchors(
        self, head: Any, found: Mapping[str, Tensor], computed: Mapping[str, Tensor]
    ) -> tuple[dict[str, tuple[Tensor, Tensor]], list[Choice], _Pairs]:
        """Return the maps of an anchor head, and the selection of pairs of anchor and class on each level."""
        num_classes, settings = head.cls_out_channels, head.test_cfg
        values = {name: (found[name], value) for name, value in computed.items() if name.startswith("anchor_")}
        sizes = [maps.shape[-2:] for maps in self.anchor_maps[0]]
        anchors = head.prior_generator.grid_priors(sizes, dtype=found["anchor_deltas"].dtype, device="cpu")
        class_scores = found["anchor_logits"].sigmoid().flatten()  # [S * C]
        choices, places, levels, start = [], [], [], 0
        left = found["anchors"]
        for number, level in enumerate(anchors):
            num_pairs = len(level) * num_classes
            num_kept = min(settings["nms_pre"], num_pairs)
            chosen, left = left[:num_kept], left[num_kept:]
            scores = class_scores[start : start + num_pairs]
            choices.append(Choice(f"anchors of level {number}", scores, chosen, num_kept))
            places.append(chosen + start)
            levels.append(torch.full_like(chosen, number))
            start += num_pairs
        chosen = torch.cat(places)
        cells = chosen // num_classes
        boxes = head.bbox_coder.decode(torch.cat(anchors)[cells], found["anchor_deltas"][cells], max_shape=self.shape)
        scores = class_scores[chosen]
        if "anchor_centerness" in found:
            scores = scores * found["anchor_centerness"][:, 0].sigmoid()[cells]
        values["anchor_boxes"] = found["anchor_boxes"], boxes
        values["anchor_scores"] = found["anchor_scores"], scores
        return values, choices, _Pairs(class_scores[chosen], chosen % num_classes, torch.cat(levels))


class _Pairs(NamedTuple):
    """Selected pairs of anchor and class: scores before centerness, classes and levels, ``[N]`` each."""

    class_scores: Tensor
    labels: Tensor
    levels: Tensor


def _repeated(tensor: Tensor, num_images: int) -> Tensor:
    """Expand a single image to all copies."""
    return tensor if len(tensor) == num_images else tensor.expand(num_images, *tensor.shape[1:])


def surely_pooled(extractor: Any, boxes: Tensor) -> Tensor:
    """Return a mask ``[R]``, true for boxes ``[R, 4]`` whose level and RoIAlign samples do not hang on rounding."""
    wide = boxes.double()
    sides = (wide[:, 2:] - wide[:, :2]).clamp(min=1e-9)
    level = (sides.prod(1).sqrt() / extractor.finest_scale + 1e-6).log2()
    is_sure = _is_between_steps(level)
    for layer in extractor.roi_layers:
        if layer.sampling_ratio == 0:
            samples = sides * layer.spatial_scale / sides.new_tensor(layer.output_size).flip(0)
            is_sure &= _is_between_steps(samples).all(1)
    return is_sure


def _is_between_steps(values: Tensor) -> Tensor:
    return (values - values.round()).abs() > NEAR_STEP
