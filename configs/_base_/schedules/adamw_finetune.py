"""AdamW with a warm-up and a cosine; `brs-detr finetune` chooses epochs and learning rates by the data."""

_base_ = "./adamw_12e.py"

optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.02, begin=0, end=12, by_epoch=True, convert_to_iter_based=True),
]
