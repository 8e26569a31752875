"""Mask R-CNN, ResNet-50, 12 epochs on Cityscapes: Bucketed Rank & Sort Loss."""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/ranking/mask-rcnn.py",
    "../_base_/datasets/cityscapes_instance.py",
    "../_base_/schedules/sgd_12e_multi-stage.py",
    "../_base_/runtime.py",
]

model = _base_.ranking
model["roi_head"]["bbox_head"]["num_classes"] = 8
model["roi_head"]["mask_head"]["num_classes"] = 8
