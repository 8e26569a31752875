"""Cascade R-CNN, ResNet-50, 12 epochs on COCO: Bucketed Rank & Sort Loss."""

_base_ = [
    "mmdet::_base_/models/cascade-rcnn_r50_fpn.py",
    "../_base_/ranking/cascade-rcnn.py",
    "../_base_/datasets/coco_detection_800.py",
    "../_base_/schedules/sgd_12e_multi-stage.py",
    "../_base_/runtime.py",
]

model = _base_.ranking
