"""RetinaNet, ResNet-50, 12 epochs on COCO: Bucketed Rank & Sort Loss."""

_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "../_base_/ranking/dense.py",
    "../_base_/datasets/coco_detection_800.py",
    "../_base_/schedules/sgd_12e_one-stage.py",
    "../_base_/runtime.py",
]

model = _base_.ranking
model["bbox_head"].update(type="RankingRetinaHead", bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]))
