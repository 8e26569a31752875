"""BRS-DETR for `brs-detr demo`: the small model with 1 + 2 layers on synthetic shapes, minutes on a CPU."""

_base_ = "./brs-co-deformable-detr_r18_1xb4-12e_coco.py"

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale_factor=1.0),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

model = dict(query_head=dict(transformer=dict(encoder=dict(num_layers=1), decoder=dict(num_layers=2))))
train_cfg = dict(max_epochs=4)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=30, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.02, begin=0, end=4, by_epoch=True, convert_to_iter_based=True),
]
