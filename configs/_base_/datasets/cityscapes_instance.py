"""Cityscapes with masks, in COCO's format: 8 classes, short side 800 to 1024, each image 8 times an epoch."""

_base_ = "./coco_instance_800.py"

data_root = "data/cityscapes/"
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadMasks"),
    dict(type="RandomResize", scale=[(2048, 800), (2048, 1024)], keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(2048, 1024), keep_ratio=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train = dict(
    type="CocoFolderDataset",
    data_root=data_root,
    ann_file="annotations/instancesonly_filtered_gtFine_train.json",
    data_prefix=dict(img="leftImg8bit/train/"),
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
    pipeline=train_pipeline,
)
val = dict(
    data_root=data_root,
    ann_file="annotations/instancesonly_filtered_gtFine_val.json",
    data_prefix=dict(img="leftImg8bit/val/"),
    pipeline=test_pipeline,
)
train_dataloader = dict(dataset=dict(_delete_=True, type="RepeatDataset", times=8, dataset=train))
val_dataloader = dict(dataset=val)
test_dataloader = dict(dataset=val)
val_evaluator = dict(ann_file=data_root + val["ann_file"])
test_evaluator = val_evaluator
