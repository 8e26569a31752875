"""BRS-DETR with Swin-L, to fine-tune on your own data."""

_base_ = ["./brs-co-deformable-detr_r50_finetune.py", "../_base_/backbones/swin-l.py"]

model = _base_.swin_l
optim_wrapper = dict(optimizer=dict(weight_decay=0.05))
