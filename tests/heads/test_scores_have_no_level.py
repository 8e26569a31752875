"""A constant added to all class logits changes nothing that is measured, in every config with ranking losses.

A ranking loss does not see such a constant, so how high scores come out is left to chance.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectors import build, small_config
from mmengine.registry import DATASETS
from torch import nn

from brs_detr.analysis.coco_ap import coco_ap
from brs_detr.config.config import list_configs, load_config
from brs_detr.evaluation.coco_metric import CocoAPMetric
from brs_detr.heads.ranking import RankingCriterion
from brs_detr.training.checkpoints import KeepLastAndBest
from brs_detr.training.hooks import StopEarly

CONSTANTS = (-12.0, -4.0, 4.0)
OBJECTS = (0, 2, 3, 7, 12, 20)
"""Which of an image's detections, best first, are taken for objects."""


def ranking_configs() -> list[str]:
    return [entry.name for entry in list_configs() if "Ranking" in load_config(entry.path).pretty_text]


def scoring_heads(model: Any) -> list[Any]:
    """Heads of which the class logits are shifted."""
    if hasattr(model, "eval_head"):
        return [model.query_head]
    head = model.roi_head.bbox_head if hasattr(model, "roi_head") else model.bbox_head
    return list(head) if isinstance(head, nn.ModuleList) else [head]


def spread_logits(model: Any) -> None:
    """Give random weights logits between -4 and 4, far enough apart for float32 wherever they are shifted to."""
    for head in scoring_heads(model):
        for layer in head.class_layers:
            nn.init.normal_(layer.weight, std=3 / layer.weight[0].numel() ** 0.5)


def detections(model: Any, dataset: Any, metric: CocoAPMetric, constant: float) -> list[dict[str, Any]]:
    shifted = copy.deepcopy(model)
    with torch.no_grad():
        for head in scoring_heads(shifted):
            for layer in head.class_layers:
                layer.bias += constant
    found: list[dict[str, Any]] = []
    with torch.inference_mode():
        for item in dataset:
            (sample,) = shifted.test_step({"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]})
            found += metric._entries(sample.to_dict())
    return found


def planted(dataset: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, Any]:
    """The dataset with some of the detections as its objects: an AP that is neither 0 nor 1."""
    annotations = []
    for image in dataset["images"]:
        of_image = [entry for entry in found if entry["image_id"] == image["id"]]
        for place in OBJECTS:
            box = of_image[place]["bbox"]
            annotations.append({**of_image[place], "id": len(annotations) + 1, "area": box[2] * box[3], "iscrowd": 0})
    return {**dataset, "annotations": annotations}


@pytest.mark.parametrize("name", ranking_configs())
def test_a_constant_changes_no_ap(name: str, outlined: Path) -> None:
    config = small_config(name, outlined)
    config.val_evaluator.masks = False
    dataset = DATASETS.build(config.val_dataloader.dataset)
    metric = CocoAPMetric(config.val_evaluator.ann_file)
    metric.dataset_meta = dataset.metainfo
    model = build(config).eval()
    spread_logits(model)
    items = [dataset[place] for place in range(2)]
    found = detections(model, items, metric, 0.0)
    truth = planted(metric.dataset | {"images": metric.dataset["images"][:2]}, found)
    ap = coco_ap(truth, found).metrics["AP"]
    assert 0.05 < ap < 0.99
    for constant in CONSTANTS:
        again = detections(model, items, metric, constant)
        assert len(again) == len(found)
        assert coco_ap(truth, again).metrics["AP"] == pytest.approx(ap, abs=1e-3), constant
        moved = np.mean([entry["score"] for entry in again]) - np.mean([entry["score"] for entry in found])
        assert np.sign(moved) == np.sign(constant)


def test_nothing_but_the_ap_chooses_a_checkpoint_and_stops_a_training() -> None:
    assert KeepLastAndBest().monitor == StopEarly(patience=3).monitor == "coco/AP"


@pytest.mark.parametrize("name", ranking_configs())
def test_no_absolute_threshold(name: str) -> None:
    """Nor a negative one, with which mmdet takes its column of zeros for a class."""
    settings = load_config(name).model.test_cfg
    parts = [settings, *(part for part in settings.values() if isinstance(part, dict))]
    cuts = [part["score_thr"] for part in parts if "score_thr" in part]
    assert cuts and set(cuts) == {0.0}


def test_class_layers_begin_at_zero(outlined: Path) -> None:
    for name in ("brs-atss", "brs-retinanet", "brs-paa", "brs-faster-rcnn"):
        model = build(small_config(f"{name}_r50_fpn_4xb4-12e_coco", outlined))
        ranking = [head for head in model.modules() if isinstance(getattr(head, "criterion", None), RankingCriterion)]
        assert ranking and all((layer.bias == 0).all() for head in ranking for layer in head.class_layers)


def test_logits_of_queries_begin_low(outlined: Path) -> None:
    model = build(small_config("brs-co-deformable-detr_r50_finetune", outlined))
    assert all((layer.bias < -4).all() for layer in model.query_head.class_layers)
    assert (model.atss_head.atss_cls.bias == 0).all()
