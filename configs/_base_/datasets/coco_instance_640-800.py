"""COCO 2017 with masks at many scales: short side 640 to 800, longest side 1333, flip."""

_base_ = "./coco_instance_800.py"

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadMasks"),
    dict(type="RandomChoiceResize", scales=[(1333, side) for side in range(640, 801, 32)], keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
