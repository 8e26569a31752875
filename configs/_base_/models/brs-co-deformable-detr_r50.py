"""BRS-DETR with ResNet-50: Co-Deformable-DETR with ranking losses in every head, no sampling, no centerness."""

_base_ = "./co-deformable-detr_r50.py"

auxiliary_weight = 5.0  # paper, section 4.2


def bucketed_rank_sort(weight):
    return dict(_delete_=True, type="BucketedRankSortLoss", delta=0.5, loss_weight=weight)


# Weights of box losses have no effect: each is scaled to the value of its head's ranking losses.
no_sampling = dict(_delete_=True, type="PseudoSampler")

model = dict(
    query_head=dict(type="RankingCoDeformDETRHead", loss_cls=bucketed_rank_sort(2.0)),
    rpn_head=dict(
        type="RankingRPNHead",
        loss_cls=bucketed_rank_sort(0.2 * auxiliary_weight),
        loss_bbox=dict(type="GIoULoss"),
    ),
    roi_head=dict(
        bbox_head=dict(type="RankingShared2FCBBoxHead", loss_cls=bucketed_rank_sort(auxiliary_weight)),
    ),
    atss_head=dict(type="RankingCoATSSHead", loss_cls=bucketed_rank_sort(auxiliary_weight), loss_centerness=None),
    train_cfg=dict(
        query=dict(
            assigner=dict(
                match_costs=[
                    dict(type="FocalLossCost", weight=4.0),
                    dict(type="BBoxL1Cost", weight=5.0, box_format="xywh"),
                    dict(type="IoUCost", iou_mode="giou", weight=2.0),
                ]
            )
        ),
        rpn=dict(sampler=no_sampling),
        rcnn=dict(sampler=no_sampling),
    ),
)
