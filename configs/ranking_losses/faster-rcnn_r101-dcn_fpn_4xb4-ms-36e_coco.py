"""Faster R-CNN, ResNet-101 with DCNv2, 36 epochs at many scales on COCO: cross entropy and L1, the baseline."""

_base_ = ["./faster-rcnn_r101_fpn_4xb4-ms-36e_coco.py", "../_base_/backbones/dcn.py"]

model = dict(backbone=_base_.deformable)
