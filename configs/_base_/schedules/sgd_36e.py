"""As `sgd_12e.py`, for 36 epochs: a tenth of the learning rate after epochs 27 and 33."""

_base_ = "./sgd_12e.py"

train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, begin=0, end=500, by_epoch=False),
    dict(type="MultiStepLR", begin=0, end=36, by_epoch=True, milestones=[27, 33], gamma=0.1),
]
