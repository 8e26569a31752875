"""ATSS, ResNet-50, 12 epochs on COCO: Bucketed Rank & Sort Loss."""

_base_ = [
    "../_base_/models/atss_r50_fpn.py",
    "../_base_/ranking/atss.py",
    "../_base_/datasets/coco_detection_800.py",
    "../_base_/schedules/sgd_12e_one-stage.py",
    "../_base_/runtime.py",
]

model = _base_.ranking
