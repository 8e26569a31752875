"""Mask R-CNN, ResNet-101, 36 epochs at many scales on COCO: Rank & Sort Loss."""

_base_ = "./brs-mask-rcnn_r101_fpn_4xb4-ms-36e_coco.py"

loss = dict(type="RankSortLoss")
model = dict(rpn_head=dict(loss_cls=loss), roi_head=dict(bbox_head=dict(loss_cls=loss)))
