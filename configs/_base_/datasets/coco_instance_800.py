"""COCO 2017 with masks: short side 800, longest side 1333, flip."""

_base_ = "./coco_detection_800.py"

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadMasks"),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = dict(masks=True)
test_evaluator = dict(masks=True)
