"""BRS-DETR, ResNet-50, 12 epochs on COCO: Tables 5 and 6, accidents of the official code included."""

_base_ = [
    "../_base_/datasets/coco_detection.py",
    "../_base_/models/brs-co-deformable-detr_r50.py",
    "../_base_/schedules/adamw_12e_ranking.py",
    "../_base_/runtime.py",
]

# What the official code does by accident; `docs/official-behaviour.md` gives the reasons. Everything else has it fixed.
zero_iou = dict(zero_iou_is_negative=True)
model = dict(
    query_head=zero_iou,
    rpn_head=dict(shrink_box_frame=True, constant_without_positives=True, **zero_iou),
    roi_head=dict(bbox_head=dict(constant_without_positives=True, **zero_iou)),
    atss_head=zero_iou,
    train_cfg=dict(rpn_proposal=dict(max_per_img=4000, min_bbox_size=-1)),
)
