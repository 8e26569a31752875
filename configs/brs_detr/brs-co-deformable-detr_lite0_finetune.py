"""BRS-DETR with EfficientNet-Lite0 and ImageNet weights, to fine-tune on your own data on a CPU."""

_base_ = ["../_base_/backbones/lite0.py", "./brs-co-deformable-detr_r18_1xb4-12e_coco.py"]

model = _base_.lite0
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(custom_keys={"backbone": dict(lr_mult=0.2)}))
