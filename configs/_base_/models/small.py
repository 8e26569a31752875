"""Shrinks Co-Deformable-DETR for laptops and CPUs: ResNet-18 from random weights, width 128, 3 + 3 layers."""

small_width = 128
small_attention = dict(embed_dims=small_width)
small_ffn = dict(embed_dims=small_width, feedforward_channels=512)

small = dict(
    backbone=dict(depth=18, frozen_stages=-1, norm_cfg=dict(requires_grad=True), norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[128, 256, 512], out_channels=small_width),
    query_head=dict(
        num_queries=100,
        max_auxiliary_queries=100,
        embed_dims=small_width,
        transformer=dict(
            positional_encoding=dict(num_feats=small_width // 2),
            encoder=dict(num_layers=3, layer_cfg=dict(self_attn_cfg=small_attention, ffn_cfg=small_ffn)),
            decoder=dict(
                num_layers=3,
                layer_cfg=dict(
                    self_attn_cfg=dict(embed_dims=small_width), cross_attn_cfg=small_attention, ffn_cfg=small_ffn
                ),
            ),
        ),
    ),
    rpn_head=dict(in_channels=small_width, feat_channels=small_width),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=small_width), bbox_head=dict(in_channels=small_width, fc_out_channels=256)
    ),
    atss_head=dict(in_channels=small_width, feat_channels=small_width),
    train_cfg=dict(rpn_proposal=dict(nms_pre=1000, max_per_img=100)),
    test_cfg=dict(rpn=dict(max_per_img=100)),
)
