"""Checkpoints of tiny detectors that were never trained, of which is known what their scores mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_models import build, enliven

from brs_detr.checkpoints.plain_file import CALIBRATIONS
from brs_detr.config.config import load_config
from brs_detr.config.folder_data import set_num_classes
from brs_detr.runtime.calibration import Calibration, Thresholds
from brs_detr.runtime.score_map import ScoreMap

CLASSES = ("circle", "square", "star")
THRESHOLDS = (0.2, 0.4, 0.6)
RAW_THRESHOLD = 0.3

LINES = ScoreMap.lines([1.5, 0.8, 1.1], [-0.5, 0.2, 0.7])
STEPS = ScoreMap(
    np.array([[-6.0, -5.0, -1.0, 0.0, 0.8], [-5.0, -4.5, -0.5, 0.2, 1.0], [-5.5, -4.8, -0.2, 0.1, 0.5]]),
    np.array([[-4.0, -2.0, -1.5, 0.5, 1.5], [-3.0, -2.5, -1.0, 0.0, 2.0], [-3.5, -1.0, -0.5, 0.3, 0.9]]),
)


def calibration(score_map: ScoreMap, thresholds: Thresholds = THRESHOLDS) -> Calibration:
    return Calibration(score_map, "Platt", 12, (30, 20, 10), thresholds, "best F1 of each class")


def write_calibrated(
    config: Path, path: Path, head: str = "query", calibrations: Mapping[str, Calibration] | None = None
) -> Path:
    """A checkpoint of random weights that predicts with a head, of which every detection is kept.

    Args:
        config: `tiny_runs.tiny_config` or `tiny_plain_config`.
        path: file to write.
        head: `query`, `roi` or `atss`.
        calibrations: by head.
    """
    loaded = load_config(config)
    set_num_classes(loaded.model, len(CLASSES))
    loaded.model.eval_head = head
    loaded.model.test_cfg.query.max_per_img = 20 * len(CLASSES)
    loaded.test_dataloader.dataset.metainfo = dict(classes=CLASSES)
    meta: dict[str, Any] = {
        "cfg": loaded.pretty_text,
        "dataset_meta": {"classes": CLASSES},
        "metrics": {"coco/F1_threshold": RAW_THRESHOLD},
    }
    if calibrations is not None:
        meta[CALIBRATIONS] = {name: calibration.to_json() for name, calibration in calibrations.items()}
    model: Any = enliven(build(config, len(CLASSES)))
    for branch in model.query_head.cls_branches:
        torch.nn.init.zeros_(branch.bias)  # scores on both sides of the thresholds
    torch.save({"state_dict": model.state_dict(), "meta": meta}, path)
    return path
