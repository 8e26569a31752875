"""Train a small detector on 20 pictures until it knows them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from detectors import build, losses_of, small_config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, METRICS
from torch import nn

from brs_detr.data.synthetic.shapes import make_shapes

NUM_PICTURES = 20
SIZE = (192, 192)
BATCH = 4


def make_pictures(folder: Path) -> Path:
    make_shapes(folder, NUM_PICTURES, 1, SIZE, seed=0, masks=True)
    return folder


def overfit_config(name: str, pictures: Path) -> Any:
    """A config from random weights, which the full pictures are read with."""
    config = small_config(name, pictures)
    backbone = config.model.backbone
    backbone.update(depth=18, base_channels=16, frozen_stages=-1, norm_eval=False)
    channels = [16 << stage for stage in range(4)]
    config.model.neck.in_channels = channels
    config.model.neck.norm_cfg = dict(type="GN", num_groups=8)
    masks = config.val_evaluator.get("masks", False)
    load = dict(type="LoadMasks") if masks else dict(type="LoadAnnotations", with_bbox=True)
    train = config.train_dataloader.dataset
    while "dataset" in train:
        train = train.dataset
    train.pipeline = [dict(type="LoadImage"), load, dict(type="PackDetInputs")]
    config.val_dataloader.dataset.update(
        {key: train[key] for key in ("ann_file", "data_prefix")},
        pipeline=[dict(type="LoadImage"), dict(type="Resize", scale=SIZE), dict(type="PackDetInputs", meta_keys=META)],
    )
    config.val_evaluator.ann_file = train.ann_file
    config.model.test_cfg.get("rcnn", config.model.test_cfg).score_thr = 0.05
    if "rpn_proposal" in config.model.train_cfg:
        config.model.train_cfg.rpn_proposal.max_per_img = config.model.test_cfg.rpn.max_per_img = 200
    return config


META = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")


def train(config: Any, epochs: int, rate: float, prepare: Any = None) -> nn.Module:
    """Train with AdamW and a cosine; ``prepare`` may change the model first."""
    model = build(config).train()
    if prepare is not None:
        prepare(model)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    items = [dataset[index] for index in range(len(dataset))]
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-4)
    steps = epochs * -(-len(items) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    draw = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        order = torch.randperm(len(items), generator=draw).tolist()
        for start in range(0, len(items), BATCH):
            batch = pseudo_collate([copy.deepcopy(items[index]) for index in order[start : start + BATCH]])
            loss = sum(losses_of(model, batch).values())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            schedule.step()
    return model.eval()


def measure(model: nn.Module, config: Any) -> dict[str, float]:
    metric, dataset = METRICS.build(config.val_evaluator), DATASETS.build(config.val_dataloader.dataset)
    metric.dataset_meta = dataset.metainfo
    with torch.inference_mode():
        for item in dataset:
            (sample,) = model.test_step({"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]})
            metric.process(None, [sample.to_dict()])
    return metric.evaluate(len(dataset))
