"""RetinaNet, ResNet-50, 12 epochs on COCO: DR Loss."""

_base_ = "./brs-retinanet_r50_fpn_4xb4-12e_coco.py"

model = dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="DRLoss")))
