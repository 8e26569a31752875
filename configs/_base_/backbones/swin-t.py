"""Swin-T pretrained on ImageNet-1k in the place of ResNet-50."""

swin_t_weights = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth"

swin_t = dict(
    backbone=dict(
        _delete_=True,
        type="SwinTransformer",
        embed_dims=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
        out_indices=(1, 2, 3),
        drop_path_rate=0.2,
        patch_norm=True,
        convert_weights=True,
        init_cfg=dict(type="Pretrained", checkpoint=swin_t_weights),
    ),
    neck=dict(in_channels=[192, 384, 768]),
)
