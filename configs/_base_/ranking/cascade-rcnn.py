"""What a ranking loss changes in Cascade R-CNN: `model = _base_.ranking` on top of mmdet's."""

_base_ = "./faster-rcnn.py"

box_head = dict(
    type="RankingShared2FCBBoxHead",
    score_weighted=True,
    in_channels=256,
    fc_out_channels=1024,
    roi_feat_size=7,
    num_classes=80,
    bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[0.1, 0.1, 0.2, 0.2]),
    reg_class_agnostic=True,
    reg_decoded_bbox=True,
    loss_cls=dict(type="BucketedRankSortLoss", delta=0.5),
    loss_bbox=dict(type="GIoULoss"),
)
stages = [
    dict(
        assigner=dict(
            type="MaxIoUAssigner",
            pos_iou_thr=iou,
            neg_iou_thr=iou,
            min_pos_iou=iou,
            match_low_quality=False,
            ignore_iof_thr=-1,
        ),
        sampler=dict(type="RandomSampler", num=10**10, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True),
        pos_weight=-1,
        debug=False,
    )
    for iou in (0.5, 0.6, 0.7)
]
ranking = dict(roi_head=dict(stage_loss_weights=[1, 1, 1], bbox_head=[box_head] * 3), train_cfg=dict(rcnn=stages))
