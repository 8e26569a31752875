"""Candidates of the query head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from co_detr.exportable.candidates import Candidates
from co_detr.exportable.stages import Stages
from co_detr.query_head import in_pixels
from co_detr.transformer import EncodedFeatures


def query_candidates(head: Any, encoded: EncodedFeatures, image_sizes: Tensor, stages: Stages) -> Candidates:
    """All pairs of a query and a class.

    Args:
        head: a `CoDeformDETRHead`.
        encoded: features of the batch.
        image_sizes: ``[B, 2]`` (h, w) in pixels.
        stages: ``encoder_logits`` and ``encoder_boxes`` of every token, ``queries`` (the places of the tokens that are
            chosen), ``decoder_logits``, ``decoder_boxes``, ``query_boxes`` and ``query_scores`` of these are added.
    """
    proposals = head.propose(encoded)
    places = head.best_proposals(proposals)
    logits, boxes_norm = head.decode_last(proposals, places, encoded)
    boxes, scores = in_pixels(boxes_norm, image_sizes), logits.sigmoid()
    stages.add(encoder_logits=proposals.logits[..., :1], encoder_boxes=proposals.box_logits, queries=places)
    stages.add(decoder_logits=logits, decoder_boxes=boxes_norm, query_boxes=boxes, query_scores=scores)
    num_classes = scores.shape[2]
    labels = torch.arange(num_classes, device=scores.device).expand_as(scores)
    return Candidates(boxes.repeat_interleave(num_classes, 1), scores.flatten(1), labels.flatten(1))
