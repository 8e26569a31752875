"""mmdet's own Deformable-DETR (two stage, box refinement) with ResNet-18 from random weights, to compare with."""

_base_ = [
    "../_base_/datasets/coco_detection_small.py",
    "../_base_/models/co-deformable-detr_r50.py",
    "../_base_/models/small.py",
    "../_base_/schedules/adamw_12e_scratch.py",
    "../_base_/runtime.py",
]

width = _base_.small_width
attention = dict(embed_dims=width, batch_first=True, dropout=0.0)
ffn = dict(embed_dims=width, feedforward_channels=512, ffn_drop=0.0)

# The sizes are those of the small Co-Deformable-DETR.
model = dict(
    _delete_=True,
    type="AnyWidthDeformableDETR",
    num_queries=100,
    num_feature_levels=4,
    with_box_refine=True,
    as_two_stage=True,
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=dict(
        type="ResNet",
        depth=18,
        out_indices=(1, 2, 3),
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        style="pytorch",
    ),
    neck={**_base_.model.neck, **_base_.small.neck},
    encoder=dict(num_layers=3, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
    decoder=dict(
        num_layers=3,
        return_intermediate=True,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=width, num_heads=8, batch_first=True),
            cross_attn_cfg=attention,
            ffn_cfg=ffn,
        ),
        post_norm_cfg=None,
    ),
    positional_encoding=dict(num_feats=width // 2, normalize=True, offset=-0.5),
    bbox_head=dict(
        type="DeformableDETRHead",
        num_classes=_base_.num_classes,
        embed_dims=width,
        sync_cls_avg_factor=True,
        loss_cls=dict(loss_weight=2.0, **_base_.focal),
        loss_bbox=dict(type="L1Loss", loss_weight=5.0),
        loss_iou=dict(type="GIoULoss", loss_weight=2.0),
    ),
    train_cfg=_base_.model.train_cfg.query,
    test_cfg=_base_.model.test_cfg.query,
)
train_dataloader = dict(batch_size=4)
