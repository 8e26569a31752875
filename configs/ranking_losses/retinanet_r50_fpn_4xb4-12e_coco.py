"""RetinaNet, ResNet-50, 12 epochs on COCO: focal loss and L1, the score-based baseline."""

_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "../_base_/datasets/coco_detection_800.py",
    "../_base_/schedules/sgd_12e_focal.py",
    "../_base_/runtime.py",
]
