"""Co-Deformable-DETR with ResNet-50: query head, RPN + Faster R-CNN, ATSS."""

num_classes = 80
width = 256
strides = [8, 16, 32, 64]
attention = dict(embed_dims=width, num_levels=4, dropout=0.0)
ffn = dict(embed_dims=width, feedforward_channels=2048, ffn_drop=0.0)
box_coder = dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2])
focal = dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25)

# The auxiliary losses were tuned for 6 decoder layers and are twice as important: 12 = 6 x 2.
auxiliary_weight = 12.0

model = dict(
    type="CoDETR",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=1,
    ),
    backbone=dict(
        type="ResNet",
        depth=50,
        num_stages=4,
        out_indices=(1, 2, 3),
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=False),
        norm_eval=True,
        style="pytorch",
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50"),
    ),
    neck=dict(
        type="ChannelMapper",
        in_channels=[512, 1024, 2048],
        kernel_size=1,
        out_channels=width,
        act_cfg=None,
        norm_cfg=dict(type="GN", num_groups=32),
        num_outs=4,
    ),
    query_head=dict(
        type="CoDeformDETRHead",
        num_classes=num_classes,
        num_queries=300,
        max_auxiliary_queries=300,
        embed_dims=width,
        sync_cls_avg_factor=True,
        transformer=dict(
            positional_encoding=dict(num_feats=width // 2, normalize=True, offset=-0.5),
            encoder=dict(num_layers=6, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
            decoder=dict(
                num_layers=6,
                post_norm_cfg=None,
                layer_cfg=dict(
                    self_attn_cfg=dict(embed_dims=width, num_heads=8), cross_attn_cfg=attention, ffn_cfg=ffn
                ),
            ),
        ),
        loss_cls=dict(loss_weight=2.0, **focal),
        loss_bbox=dict(type="L1Loss", loss_weight=5.0),
        loss_iou=dict(type="GIoULoss", loss_weight=2.0),
    ),
    rpn_head=dict(
        type="RPNHead",
        in_channels=width,
        feat_channels=width,
        anchor_generator=dict(
            type="AnchorGenerator",
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=[0.5, 1.0, 2.0],
            strides=[*strides, 128],
        ),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[1.0] * 4),
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=auxiliary_weight),
        loss_bbox=dict(type="L1Loss", loss_weight=auxiliary_weight),
    ),
    roi_head=dict(
        type="CoRoIHead",
        bbox_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
            out_channels=width,
            featmap_strides=strides,
            finest_scale=112,
        ),
        bbox_head=dict(
            type="Shared2FCBBoxHead",
            in_channels=width,
            fc_out_channels=1024,
            roi_feat_size=7,
            num_classes=num_classes,
            bbox_coder=box_coder,
            reg_class_agnostic=False,
            reg_decoded_bbox=True,
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=auxiliary_weight),
            loss_bbox=dict(type="GIoULoss", loss_weight=10 * auxiliary_weight),
        ),
    ),
    atss_head=dict(
        type="CoATSSHead",
        num_classes=num_classes,
        in_channels=width,
        feat_channels=width,
        stacked_convs=1,
        anchor_generator=dict(
            type="AnchorGenerator",
            ratios=[1.0],
            octave_base_scale=8,
            scales_per_octave=1,
            strides=[*strides, 128],
        ),
        bbox_coder=box_coder,
        loss_cls=dict(loss_weight=auxiliary_weight, **focal),
        loss_bbox=dict(type="GIoULoss", loss_weight=2 * auxiliary_weight),
        loss_centerness=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=auxiliary_weight),
    ),
    train_cfg=dict(
        query=dict(
            assigner=dict(
                type="HungarianAssigner",
                match_costs=[
                    dict(type="FocalLossCost", weight=2.0),
                    dict(type="BBoxL1Cost", weight=5.0, box_format="xywh"),
                    dict(type="IoUCost", iou_mode="giou", weight=2.0),
                ],
            )
        ),
        rpn=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=0.3,
                match_low_quality=True,
                ignore_iof_thr=-1,
            ),
            sampler=dict(type="RandomSampler", num=256, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=False),
            allowed_border=-1,
            pos_weight=-1,
        ),
        rpn_proposal=dict(nms_pre=4000, max_per_img=1000, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=False,
                ignore_iof_thr=-1,
            ),
            sampler=dict(type="RandomSampler", num=512, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True),
            pos_weight=-1,
        ),
        atss=dict(assigner=dict(type="ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1),
    ),
    test_cfg=dict(
        query=dict(max_per_img=100),
        rpn=dict(nms_pre=1000, max_per_img=1000, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(score_thr=0.0, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100),
        atss=dict(nms_pre=1000, score_thr=0.0, nms=dict(type="nms", iou_threshold=0.6), max_per_img=100),
    ),
)
