"""Faster R-CNN, ResNet-101, 36 epochs at many scales on COCO: Bucketed Rank & Sort Loss."""

_base_ = [
    "mmdet::_base_/models/faster-rcnn_r50_fpn.py",
    "../_base_/ranking/faster-rcnn.py",
    "../_base_/backbones/resnet-101.py",
    "../_base_/datasets/coco_detection_480-960.py",
    "../_base_/schedules/sgd_36e_multi-stage.py",
    "../_base_/runtime.py",
]

model = dict(backbone=_base_.backbone, **_base_.ranking)
