"""BRS-DETR for `brs-detr demo`, from EfficientNet-Lite0 with ImageNet weights: minutes on a CPU."""

_base_ = ["../_base_/backbones/lite0.py", "./brs-co-deformable-detr_r18_1xb4-4e_shapes.py"]

model = _base_.lite0
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"backbone": dict(lr_mult=0.2)}))
