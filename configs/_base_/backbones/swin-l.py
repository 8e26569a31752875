"""Swin-L with window 12, pretrained on ImageNet-22k at 384 pixels, in the place of ResNet-50."""

swin_l_weights = (
    "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_large_patch4_window12_384_22k.pth"
)

swin_l = dict(
    backbone=dict(
        _delete_=True,
        type="SwinTransformer",
        pretrain_img_size=384,
        embed_dims=192,
        depths=[2, 2, 18, 2],
        num_heads=[6, 12, 24, 48],
        window_size=12,
        out_indices=(1, 2, 3),
        drop_path_rate=0.3,
        patch_norm=True,
        convert_weights=True,
        init_cfg=dict(type="Pretrained", checkpoint=swin_l_weights),
    ),
    neck=dict(in_channels=[384, 768, 1536]),
)
