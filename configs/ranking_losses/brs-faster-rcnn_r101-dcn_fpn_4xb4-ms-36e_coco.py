"""Faster R-CNN, ResNet-101 with DCNv2, 36 epochs at many scales on COCO: Bucketed Rank & Sort Loss."""

_base_ = "./brs-faster-rcnn_r101_fpn_4xb4-ms-36e_coco.py"

model = dict(
    backbone=dict(
        dcn=dict(type="DCNv2", deform_groups=4, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    )
)
