"""EfficientNet-Lite0 in the place of ResNet, with ImageNet weights from the package index (extra `pretrained`)."""

lite0 = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        _delete_=True,
        type="TimmBackbone",
        model_name="tf_efficientnet_lite0",
        out_indices=(2, 3, 4),
        pretrained="package",
        norm_eval=True,
    ),
    neck=dict(in_channels=[40, 112, 320]),
)
