"""As `sgd_12e_multi-stage.py`, for 27 epochs: a tenth of the learning rate after epochs 18 and 25, in proportion."""

_base_ = "./sgd_12e_multi-stage.py"

train_cfg = dict(max_epochs=27)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, begin=0, end=500, by_epoch=False),
    dict(type="MultiStepLR", begin=0, end=27, by_epoch=True, milestones=[18, 25], gamma=0.1),
]
