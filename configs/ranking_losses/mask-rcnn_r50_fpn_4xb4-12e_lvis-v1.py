"""Mask R-CNN, ResNet-50, 12 epochs on LVIS v1: cross entropy and L1, the score-based baseline."""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/datasets/lvis_v1_instance.py",
    "../_base_/schedules/sgd_12e.py",
    "../_base_/runtime.py",
]

model = dict(
    roi_head=dict(bbox_head=dict(num_classes=1203), mask_head=dict(num_classes=1203)),
    test_cfg=dict(rcnn=dict(score_thr=1e-4, max_per_img=300)),
)
