"""ResNet-101, pre-trained on ImageNet-1k, in the place of ResNet-50."""

backbone = dict(depth=101, init_cfg=dict(checkpoint="torchvision://resnet101"))
