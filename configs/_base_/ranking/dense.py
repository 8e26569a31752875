"""What a ranking loss changes in a one-stage detector: `model = _base_.ranking` on top of the plain one."""

ranking = dict(
    bbox_head=dict(
        score_weighted=True,
        reg_decoded_bbox=True,
        loss_cls=dict(_delete_=True, type="BucketedRankSortLoss", delta=0.5),
        loss_bbox=dict(_delete_=True, type="GIoULoss"),
    ),
    test_cfg=dict(score_thr=0.0),  # scores have an order and no level
)
