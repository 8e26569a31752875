"""12 epochs of AdamW from random weights: a high learning rate for all parts, a short warm-up, then a cosine."""

_base_ = "./adamw_12e.py"

optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(custom_keys={"backbone": dict(lr_mult=1.0)}))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.02, begin=0, end=12, by_epoch=True, convert_to_iter_based=True),
]
