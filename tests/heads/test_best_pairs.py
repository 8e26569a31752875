"""The best pairs of an anchor head are those that mmdet finds by sorting all of them."""

from __future__ import annotations

import pytest
import torch
from detectors import build, small_config
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmengine.structures import InstanceData

from brs_detr.heads.paa_head import vote

META = {"img_shape": (64, 64), "scale_factor": (1.0, 1.0)}


def maps_of(channels: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, channels, side, side, generator=generator) for side in (8, 4, 2, 1, 1)]


@pytest.mark.parametrize("name", ["brs-atss", "brs-retinanet"])
@pytest.mark.parametrize(("threshold", "num_kept"), [(0.0, 30), (0.0, 1000), (0.4, 1000)])
def test_as_mmdet_sorts_them(name, threshold, num_kept, outlined):
    head = build(small_config(f"{name}_r50_fpn_4xb4-12e_coco", outlined)).bbox_head.eval()
    head.test_cfg.update(score_thr=threshold, nms_pre=num_kept)
    logits, deltas = maps_of(head.num_base_priors * head.num_classes), maps_of(head.num_base_priors * 4)
    priors = head.prior_generator.grid_priors([level.shape[-2:] for level in logits], device="cpu")
    single = [level[0] for level in logits], [level[0] for level in deltas], [None] * 5, priors, META, head.test_cfg
    found = head._predict_by_feat_single(*single)
    expected = BaseDenseHead._predict_by_feat_single(head, *single)
    torch.testing.assert_close(found.scores, expected.scores)
    torch.testing.assert_close(found.bboxes, expected.bboxes)
    assert found.labels.equal(expected.labels) and len(found)


def test_centerness_multiplies_what_was_chosen_without_it(outlined):
    head = build(small_config("brs-atss_r50_fpn_4xb4-12e_coco", outlined)).bbox_head.eval()
    num_anchors = head.num_base_priors
    logits, deltas, centerness = (maps_of(num_anchors * size) for size in (head.num_classes, 4, 1))
    priors = head.prior_generator.grid_priors([level.shape[-2:] for level in logits], device="cpu")
    head.test_cfg.update(nms_pre=20)
    single = *([level[0] for level in maps] for maps in (logits, deltas, centerness)), priors, META, head.test_cfg
    found = head._predict_by_feat_single(*single)
    torch.testing.assert_close(found.scores, BaseDenseHead._predict_by_feat_single(head, *single).scores)


def test_votes_do_not_see_a_constant():
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(40, 2, generator=generator) * 4
    boxes, logits = torch.cat([corners, corners + 8], 1), torch.randn(40, generator=generator)
    labels = torch.arange(40) % 2
    voted = []
    for constant in (-9.0, 0.0, 3.0):
        pairs = InstanceData(bboxes=boxes, scores=(logits + constant).sigmoid(), labels=labels)
        voted.append(vote(pairs[:6], pairs))
    torch.testing.assert_close(voted[0], voted[1], rtol=0, atol=1e-3)
    torch.testing.assert_close(voted[2], voted[1], rtol=0, atol=1e-3)
    assert not torch.allclose(voted[1], boxes[:6], atol=0.1)


def test_a_box_without_company_stays():
    pairs = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 8, 8], [1, 0, 9, 8], [40, 40, 50, 50]]),
        scores=torch.tensor([0.9, 0.8, 1.0]),
        labels=torch.tensor([0, 1, 0]),
    )
    torch.testing.assert_close(vote(pairs, pairs), pairs.bboxes)


def test_scores_that_are_0_but_for_rounding_vote_too():
    boxes = torch.tensor([[0.0, 0, 8, 8], [2, 0, 10, 8]])
    pairs = InstanceData(bboxes=boxes, scores=torch.zeros(2), labels=torch.zeros(2, dtype=torch.long))
    voted = vote(pairs, pairs)
    assert (voted[:, 0] > 0).all() and (voted[:, 0] < 2).all()
