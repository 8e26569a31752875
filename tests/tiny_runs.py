"""A dataset of 64-pixel images, a tiny detector, and a finished run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console

from brs_detr.config.config import configs_dir
from brs_detr.data.synthetic.shapes import make_shapes
from brs_detr.runtime.calibration import Calibration, Thresholds
from brs_detr.runtime.score_map import ScoreMap
from brs_detr.training.train import TrainedRun, train

TINY_CONFIG = """\
'''A detector for tests.'''
_base_ = "{base}"
width = 64
attention = dict(embed_dims=width)
ffn = dict(embed_dims=width, feedforward_channels=32)
load = dict(type="LoadImage")
train_pipeline = [
    load,
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    load,
    dict(type="Resize", scale=(64, 64), keep_ratio=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=1))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[16, 32, 64], out_channels=width, norm_cfg=dict(num_groups=8)),
    query_head=dict(
        num_queries=20,
        max_auxiliary_queries=20,
        embed_dims=width,
        transformer=dict(
            positional_encoding=dict(num_feats=width // 2),
            encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
            decoder=dict(
                num_layers=2,
                layer_cfg=dict(self_attn_cfg=dict(embed_dims=width), cross_attn_cfg=attention, ffn_cfg=ffn),
            ),
        ),
    ),
    rpn_head=dict(in_channels=width, feat_channels=width),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width), bbox_head=dict(in_channels=width, fc_out_channels=32)
    ),
    atss_head=dict(in_channels=width, feat_channels=width),
    train_cfg=dict(rpn_proposal=dict(nms_pre=100, max_per_img=50)),
    test_cfg=dict(query=dict(max_per_img=20), rpn=dict(nms_pre=100, max_per_img=50)),
)
"""


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 training and 4 validation images; one of them has no object, one has a crowd."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    make_shapes(folder, 6, 4, (64, 64), seed=3)
    return folder


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Config file of a tiny BRS-DETR."""
    base = configs_dir() / "brs_detr" / "brs-co-deformable-detr_r18_1xb4-12e_coco.py"
    path = tmp_path_factory.mktemp("config") / "tiny.py"
    path.write_text(TINY_CONFIG.format(base=base.as_posix()))
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_config: Path, shapes: Path) -> TrainedRun:
    """A run of two epochs; tests only read it."""
    work_dir = tmp_path_factory.mktemp("runs") / "trained"
    return train(tiny_config, shapes, work_dir, seed=1, epochs=2, console=Console(quiet=True))


@pytest.fixture(scope="session")
def tiny_plain_config(tiny_config: Path) -> Path:
    """The same with plain Co-DETR's losses."""
    base = configs_dir() / "co_detr" / "co-deformable-detr_r18_1xb4-12e_coco.py"
    path = tiny_config.with_name("tiny_plain.py")
    path.write_text(TINY_CONFIG.format(base=base.as_posix()))
    return path


def calibrate_file(path: Path, head: str = "query", thresholds: Thresholds = 0.5) -> Calibration:
    """Give a checkpoint a made-up calibration, in place: classes differ in slope and offset."""
    content = torch.load(path, weights_only=True)
    num_classes = len(content["meta"]["dataset_meta"]["classes"])
    slopes, offsets = [1 + label / 4 for label in range(num_classes)], [4 - label / 2 for label in range(num_classes)]
    score_map = ScoreMap.lines(slopes, offsets)
    calibration = Calibration(score_map, "Platt", 31, (9,) * num_classes, thresholds)
    content["meta"]["calibrations"] = {head: calibration.to_json()}
    torch.save(content, path)
    return calibration


def uncalibrate_file(path: Path) -> None:
    """Remove the calibration of a checkpoint, as in files of earlier versions."""
    content = torch.load(path, weights_only=True)
    content["meta"].pop("calibrations", None)
    torch.save(content, path)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Use one thread: tiny models are several times slower on several, more so on a busy machine.

    `make test-isa` uses several nevertheless.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("BRS_DETR_TEST_THREADS", "1")))
    yield
    torch.set_num_threads(before)


def with_other_category_ids(shapes: Path, folder: Path) -> Path:
    """A copy of a dataset whose validation categories have other ids, in the opposite order."""
    data = Path(shutil.copytree(shapes, folder))
    file = data / "annotations" / "val.json"
    content = json.loads(file.read_text())
    content["categories"] = [{**entry, "id": 100 - 7 * entry["id"]} for entry in content["categories"]]
    for entry in content["annotations"]:
        entry["category_id"] = 100 - 7 * entry["category_id"]
    file.write_text(json.dumps(content))
    return data
