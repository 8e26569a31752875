"""Mask R-CNN, ResNet-50, 12 epochs on LVIS v1: Bucketed Rank & Sort Loss."""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/ranking/mask-rcnn.py",
    "../_base_/datasets/lvis_v1_instance.py",
    "../_base_/schedules/sgd_12e_multi-stage.py",
    "../_base_/runtime.py",
]

model = _base_.ranking
model["roi_head"]["bbox_head"]["num_classes"] = 1203
model["roi_head"]["mask_head"]["num_classes"] = 1203
model["test_cfg"]["rcnn"].update(nms_pre=3000, max_per_img=300)
