"""PAA, ResNet-50, 12 epochs on COCO: Bucketed Rank & Sort Loss."""

_base_ = [
    "../_base_/models/paa_r50_fpn.py",
    "../_base_/ranking/dense.py",
    "../_base_/datasets/coco_detection_800.py",
    "../_base_/schedules/sgd_12e_one-stage.py",
    "../_base_/runtime.py",
]

model = dict(
    bbox_head=dict(
        type="RankingPAAHead",
        # Three anchors a place, as in the official code; no IoU branch.
        anchor_generator=dict(octave_base_scale=4, scales_per_octave=3),
        loss_centerness=None,
        **_base_.ranking.bbox_head,
    )
)
