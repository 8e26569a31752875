"""What a ranking loss changes in Faster R-CNN: `model = _base_.ranking` on top of mmdet's."""

loss = dict(_delete_=True, type="BucketedRankSortLoss", delta=0.5)
giou = dict(_delete_=True, type="GIoULoss")

ranking = dict(
    rpn_head=dict(
        type="RankingRPNHead",
        head_weight=0.2,
        score_weighted=True,
        bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=loss,
        loss_bbox=giou,
    ),
    roi_head=dict(
        bbox_head=dict(
            type="RankingShared2FCBBoxHead",
            score_weighted=True,
            reg_decoded_bbox=True,
            loss_cls=loss,
            loss_bbox=giou,
        )
    ),
    # All anchors, all proposals and the objects themselves: nothing is sampled.
    train_cfg=dict(rpn=dict(sampler=dict(_delete_=True, type="PseudoSampler")), rcnn=dict(sampler=dict(num=10**10))),
    # Scores have an order and no level: the best pairs of a proposal and a class are kept, however low they score.
    test_cfg=dict(rcnn=dict(score_thr=0.0, nms_pre=1000)),
)
