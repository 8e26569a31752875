"""Cascade R-CNN, ResNet-50, 12 epochs on COCO: Rank & Sort Loss."""

_base_ = "./brs-cascade-rcnn_r50_fpn_4xb4-12e_coco.py"

loss = dict(type="RankSortLoss")
heads = [{**head, "loss_cls": {**head.loss_cls, **loss}} for head in _base_.model.roi_head.bbox_head]
model = dict(rpn_head=dict(loss_cls=loss), roi_head=dict(bbox_head=heads))
