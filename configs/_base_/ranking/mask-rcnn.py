"""What a ranking loss changes in Mask R-CNN: `model = _base_.ranking` on top of mmdet's."""

_base_ = "./faster-rcnn.py"

ranking = dict(
    roi_head=dict(
        type="RankingRoIHead",
        mask_head=dict(
            type="RankingFCNMaskHead",
            loss_mask=dict(_delete_=True, type="DiceLoss", use_sigmoid=True, activate=True, eps=5e-6, loss_weight=1.0),
        ),
    )
)
