"""ATSS, ResNet-50, 12 epochs on COCO: focal loss and GIoU, the score-based baseline."""

_base_ = [
    "../_base_/models/atss_r50_fpn.py",
    "../_base_/datasets/coco_detection_800.py",
    "../_base_/schedules/sgd_12e_focal.py",
    "../_base_/runtime.py",
]
