"""Faster R-CNN, ResNet-50, 12 epochs on COCO: Rank & Sort Loss."""

_base_ = "./brs-faster-rcnn_r50_fpn_4xb4-12e_coco.py"

loss = dict(type="RankSortLoss")
model = dict(rpn_head=dict(loss_cls=loss), roi_head=dict(bbox_head=dict(loss_cls=loss)))
