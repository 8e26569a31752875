"""Mask R-CNN, ResNet-101, 36 epochs at many scales on COCO: cross entropy and L1, the score-based baseline."""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/backbones/resnet-101.py",
    "../_base_/datasets/coco_instance_640-800.py",
    "../_base_/schedules/sgd_36e.py",
    "../_base_/runtime.py",
]

model = dict(backbone=_base_.backbone)
