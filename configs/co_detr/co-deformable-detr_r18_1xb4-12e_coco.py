"""Co-Deformable-DETR with ResNet-18 from random weights, for laptops and CPUs."""

_base_ = [
    "../_base_/datasets/coco_detection_small.py",
    "../_base_/models/co-deformable-detr_r50.py",
    "../_base_/models/small.py",
    "../_base_/schedules/adamw_12e_scratch.py",
    "../_base_/runtime.py",
]

model = _base_.small
train_dataloader = dict(batch_size=4)
