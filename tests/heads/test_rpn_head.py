"""RPN trained with a ranking loss."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from brs_detr import heads

SIZE = (64, 64)
META = dict(img_shape=SIZE, pad_shape=SIZE, batch_input_shape=SIZE)


def build(**options):
    heads.register()
    return MODELS.build(
        ConfigDict(
            type="RankingRPNHead",
            in_channels=4,
            feat_channels=4,
            anchor_generator=dict(type="AnchorGenerator", scales=[4], ratios=[1.0], strides=[8, 16]),
            loss_cls=dict(type="BucketedRankSortLoss", delta=0.5),
            loss_bbox=dict(type="GIoULoss"),
            train_cfg=dict(
                assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
                sampler=dict(type="PseudoSampler"),
                allowed_border=-1,
                pos_weight=-1,
            ),
            **options,
        )
    )


def losses(head, boxes):
    torch.manual_seed(0)
    maps = (torch.randn(1, 4, 8, 8), torch.randn(1, 4, 4, 4))
    gt = InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 4), labels=torch.zeros(len(boxes), dtype=torch.long))
    return head.loss_by_feat(*head(maps), [gt], [META])


def test_losses_of_a_batch_with_objects():
    head = build()
    found = losses(head, [[8.0, 8.0, 40.0, 44.0]])
    assert set(found) == {"loss_rpn_rank", "loss_rpn_sort", "loss_rpn_bbox"}
    torch.testing.assert_close(found["loss_rpn_bbox"], found["loss_rpn_rank"] + found["loss_rpn_sort"])
    sum(found.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize(("constant", "expected"), [(False, 0.0), (True, 1.0)])
def test_losses_without_objects(constant, expected):
    head = build(constant_without_positives=constant)
    found = losses(head, [])
    assert [loss.item() for loss in found.values()] == [expected] * 3
    sum(found.values()).backward()
    assert all(p.grad is not None and (p.grad == 0).all() for p in head.parameters())


def test_unit_boxes_have_the_iou_of_the_real_boxes():
    head = build()
    anchors = torch.tensor([[0.0, 0.0, 32.0, 32.0], [10.0, 4.0, 74.0, 100.0]])
    deltas, targets = torch.tensor([[0.1, -0.2, 0.3, 0.1], [0.5, 0.0, -0.4, 0.2]]), torch.zeros(2, 4)
    real = bbox_overlaps(head.bbox_coder.decode(anchors, deltas), anchors, is_aligned=True)
    unit = bbox_overlaps(head.unit_boxes(deltas), head.unit_boxes(targets), is_aligned=True)
    assert torch.allclose(real, unit, atol=1e-6)


def test_shrunken_frame_overstates_iou():
    deltas, targets = torch.tensor([[0.4, -0.2, 0.3, 0.1]]), torch.zeros(1, 4)
    true, shrunken = (
        bbox_overlaps(head.unit_boxes(deltas), head.unit_boxes(targets), is_aligned=True)
        for head in (build(), build(shrink_box_frame=True))
    )
    assert true < 0.6 < 0.85 < shrunken
