"""BRS-DETR with ResNet-50, to fine-tune on your own data."""

_base_ = [
    "../_base_/datasets/finetune.py",
    "../_base_/models/brs-co-deformable-detr_r50.py",
    "../_base_/schedules/adamw_finetune.py",
    "../_base_/runtime.py",
]
