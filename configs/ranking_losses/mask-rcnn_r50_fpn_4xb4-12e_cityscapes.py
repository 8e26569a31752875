"""Mask R-CNN, ResNet-50, 12 epochs on Cityscapes: cross entropy and L1, the score-based baseline."""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/datasets/cityscapes_instance.py",
    "../_base_/schedules/sgd_12e.py",
    "../_base_/runtime.py",
]

model = dict(
    roi_head=dict(bbox_head=dict(num_classes=8), mask_head=dict(num_classes=8)),
)
