"""ATSS, ResNet-50, 12 epochs on COCO: AP Loss."""

_base_ = "./brs-atss_r50_fpn_4xb4-12e_coco.py"

model = dict(bbox_head=dict(loss_cls=dict(type="APLoss", interpolated=True)))
