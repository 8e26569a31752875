"""LVIS v1 with masks: 1,203 classes, images with rare ones repeated, measured by the protocol of LVIS."""

_base_ = "./coco_instance_640-800.py"

data_root = "data/lvis_v1/"  # annotations/, train2017/, val2017/
train = dict(
    type="CocoFolderDataset",
    data_root=data_root,
    ann_file="annotations/lvis_v1_train.json",
    data_prefix=dict(img=""),
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
    pipeline=_base_.train_pipeline,
)
val = dict(data_root=data_root, ann_file="annotations/lvis_v1_val.json", data_prefix=dict(img=""))
train_dataloader = dict(
    dataset=dict(_delete_=True, type="ClassBalancedDataset", oversample_thr=1e-3, dataset=train),
)
val_dataloader = dict(dataset=val)
test_dataloader = dict(dataset=val)
val_evaluator = dict(ann_file=data_root + val["ann_file"])
test_evaluator = val_evaluator
