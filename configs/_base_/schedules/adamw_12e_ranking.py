"""As `adamw_12e.py`, but the learning rate is divided by 5 after epochs 10 and 11 (BRS-DETR, S.3.3)."""

_base_ = "./adamw_12e.py"

param_scheduler = [dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[10, 11], gamma=0.2)]
