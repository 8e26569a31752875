"""Mask R-CNN, ResNet-50, 12 epochs on COCO: Bucketed Rank & Sort Loss."""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/ranking/mask-rcnn.py",
    "../_base_/datasets/coco_instance_800.py",
    "../_base_/schedules/sgd_12e_multi-stage.py",
    "../_base_/runtime.py",
]

model = _base_.ranking
