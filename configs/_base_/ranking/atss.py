"""What a ranking loss changes in ATSS and PAA: `model = _base_.ranking` on top of the plain one."""

_base_ = "./dense.py"

# Three anchors a place, as in the official code; no centerness, no branch for the IoU.
ranking = dict(
    bbox_head=dict(
        type="RankingATSSHead",
        anchor_generator=dict(octave_base_scale=4, scales_per_octave=3),
        loss_centerness=None,
    )
)
