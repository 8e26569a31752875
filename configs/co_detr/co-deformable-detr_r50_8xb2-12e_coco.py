"""Co-Deformable-DETR, ResNet-50, 12 epochs on COCO: the baseline of Tables 5 and 6."""

_base_ = [
    "../_base_/datasets/coco_detection.py",
    "../_base_/models/co-deformable-detr_r50.py",
    "../_base_/schedules/adamw_12e.py",
    "../_base_/runtime.py",
]
