"""Mask R-CNN, ResNet-101, 36 epochs at many scales on COCO: Bucketed Rank & Sort Loss."""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/ranking/mask-rcnn.py",
    "../_base_/backbones/resnet-101.py",
    "../_base_/datasets/coco_instance_640-800.py",
    "../_base_/schedules/sgd_36e_multi-stage.py",
    "../_base_/runtime.py",
]

model = dict(backbone=_base_.backbone, **_base_.ranking)
