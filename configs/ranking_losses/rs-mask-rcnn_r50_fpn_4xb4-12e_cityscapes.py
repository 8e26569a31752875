"""Mask R-CNN, ResNet-50, 12 epochs on Cityscapes: Rank & Sort Loss."""

_base_ = "./brs-mask-rcnn_r50_fpn_4xb4-12e_cityscapes.py"

loss = dict(type="RankSortLoss")
model = dict(rpn_head=dict(loss_cls=loss), roi_head=dict(bbox_head=dict(loss_cls=loss)))
