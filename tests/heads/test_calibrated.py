"""A calibrated detector finds what it found before, in the same order within a class, and scores it as the map says."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectors import build, small_config
from mmengine.registry import DATASETS
from mmengine.structures import InstanceData
from torch import nn

from brs_detr.heads.calibrated import MappedLogits, MappedScores, PiecewiseLinear, calibrate_model
from brs_detr.runtime.score_map import ScoreMap

RANKING = ("faster-rcnn", "cascade-rcnn", "mask-rcnn", "atss", "paa", "retinanet")
NAMES = [*(f"brs-{name}" for name in RANKING), "faster-rcnn", "atss"]
FOLDED = {"brs-faster-rcnn", "brs-mask-rcnn", "brs-atss", "brs-retinanet"}
NUM_CLASSES = 6


def lines() -> ScoreMap:
    """Another line for each class."""
    places = np.arange(NUM_CLASSES)
    return ScoreMap.lines(0.5 + 0.2 * places, -1.0 + 0.3 * places)


def steps() -> ScoreMap:
    """Four segments for each class, of which the second is steep."""
    shifts = 0.2 * np.arange(NUM_CLASSES)[:, None]
    return ScoreMap(np.array([-6.0, -2.0, -1.5, 0.5, 4.0]) + shifts, np.array([-5.0, -4.0, -1.0, 0.0, 1.0]) - shifts)


def config_of(name: str, data: Path) -> Any:
    """Of a detector that drops little, so that nothing depends on which pairs of all classes are the best."""
    config = small_config(f"{name}_r50_fpn_4xb4-12e_coco", data)
    settings = config.model.test_cfg.get("rcnn", config.model.test_cfg)
    settings.update(score_thr=0.0, max_per_img=100_000, nms_pre=100_000)
    settings.nms.iou_threshold = 0.9
    return config


def found_by(model: nn.Module, config: Any) -> InstanceData:
    """Detections on a picture, best first."""
    item = DATASETS.build(config.val_dataloader.dataset)[0]
    with torch.inference_mode():
        data = {"inputs": [item["inputs"]], "data_samples": [copy.deepcopy(item["data_samples"])]}
        return model.eval().test_step(data)[0].pred_instances  # type: ignore[operator]


def by_class(found: InstanceData) -> InstanceData:
    """Class by class, and of each in their order."""
    return found[found.labels.sort(stable=True).indices]


def rescored(model: nn.Module, raw: InstanceData) -> InstanceData:
    """Detections with raw scores as a model with a map of its own gives them."""
    mapped = copy.deepcopy(raw)
    mapped.scores = model.score_map(raw.scores, raw.labels)  # type: ignore[operator]
    return mapped[mapped.scores.sort(descending=True, stable=True).indices]


@pytest.mark.parametrize("kind", [lines, steps])
@pytest.mark.parametrize("name", NAMES)
def test_detections_are_scored_as_the_map_says(name: str, kind, outlined: Path) -> None:
    """In float64, where no two scores are equal by rounding."""
    config, score_map = config_of(name, outlined), kind()
    model = build(config).double()
    if "mask" in name:
        model.roi_head.mask_head = None  # it draws in float32 alone
    raw = by_class(found_by(model, config))
    assert len(raw) > 20 and len(raw.labels.unique()) > 1
    calibrate_model(model, score_map)
    assert hasattr(model, "score_map") == (name not in FOLDED)
    found = found_by(model, config)
    assert (found.scores.diff() <= 0).all()
    mapped = by_class(found)
    assert torch.equal(mapped.labels, raw.labels)
    expected = score_map(raw.scores.numpy(), raw.labels.numpy())
    np.testing.assert_allclose(mapped.scores.numpy(), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(mapped.bboxes.numpy(), raw.bboxes.numpy(), rtol=0, atol=1e-6)


def test_masks_stay_with_their_boxes(outlined: Path) -> None:
    config = config_of("mask-rcnn", outlined)
    model = build(config)
    raw = found_by(model, config)
    calibrate_model(model, lines())
    mapped = found_by(model, config)
    expected = rescored(model, raw)
    assert not torch.equal(expected.bboxes, raw.bboxes)
    assert torch.equal(mapped.scores, expected.scores)
    assert torch.equal(mapped.bboxes, expected.bboxes)
    assert torch.equal(torch.as_tensor(mapped.masks), torch.as_tensor(expected.masks))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("brs-faster-rcnn", dict(roi_head=dict(bbox_head=dict(lowest_score=0.5)))),
        ("brs-retinanet", dict(test_cfg=dict(score_thr=0.5))),
        ("brs-retinanet", dict(test_cfg=dict(nms=dict(type="soft_nms")))),
    ],
    ids=["lowest_score", "score_thr", "soft_nms"],
)
def test_what_was_chosen_for_raw_scores_goes_on_with_raw_scores(name: str, change: dict, outlined: Path) -> None:
    config = config_of(name, outlined)
    _merge(config.model, change)
    model = build(config)
    raw = found_by(model, config)
    assert len(raw) > 0
    calibrate_model(model, lines())
    mapped, expected = found_by(model, config), rescored(model, raw)
    assert torch.equal(mapped.bboxes, expected.bboxes)
    assert torch.equal(mapped.scores, expected.scores)


def _merge(settings: Any, changes: dict) -> None:
    for name, change in changes.items():
        if isinstance(change, dict):
            _merge(settings[name], change)
        else:
            settings[name] = change


def steep(rises: np.ndarray, seed: int) -> ScoreMap:
    """Knots that float32 hardly tells apart, with all the rise between them."""
    knots = np.cumsum(np.random.default_rng(seed).choice([1e-7, 1e-3, 1.0], (NUM_CLASSES, 8)), 1) - 3
    return ScoreMap(knots, np.cumsum(np.broadcast_to(rises, knots.shape), 1) - 8)


@pytest.mark.parametrize("seed", range(5))
def test_rounding_turns_no_two_scores_round(seed: int) -> None:
    score_map = steep(np.array([0.1, 2.0, 0.01, 3.0, 0.1, 0.1, 4.0, 1.0]), seed)
    generator = torch.Generator().manual_seed(seed)
    around = torch.from_numpy(score_map.knots.ravel()).float().repeat(20)
    logits = torch.cat([around + 1e-6 * torch.randn(len(around), generator=generator), torch.linspace(-9, 9, 500)])
    logits = logits.sort().values
    scores = logits.sigmoid()
    for label in range(NUM_CLASSES):
        labels = torch.full((len(logits),), label)
        assert (PiecewiseLinear(score_map).float()(logits, labels).diff() >= 0).all()
        assert (MappedScores(score_map).float()(scores, labels).diff() >= 0).all()
        assert (np.diff(score_map(scores.numpy(), labels.numpy())) >= 0).all()


def test_scores_without_a_logit_are_finite() -> None:
    scores = torch.tensor([0.0, 1e-45, 0.5, 1 - 2.0**-24, 1.0])
    labels = torch.zeros(5, dtype=torch.int64)
    for score_map in (lines(), steps()):
        mapped = MappedScores(score_map).float()(scores, labels)
        np.testing.assert_allclose(mapped, score_map(scores.numpy(), labels.numpy()), rtol=1e-5)
        assert (mapped.diff() >= 0).all()


def test_classes_of_an_anchor_lie_side_by_side() -> None:
    layer = nn.Conv2d(4, 3 * NUM_CLASSES, 1)
    maps = torch.randn(2, 4, 5, 6)
    score_map = steps()
    raw = layer(maps).sigmoid().unflatten(1, (3, NUM_CLASSES)).detach().numpy()
    mapped = MappedLogits(layer, score_map).float()(maps).sigmoid().unflatten(1, (3, NUM_CLASSES)).detach().numpy()
    for label in range(NUM_CLASSES):
        expected = score_map(raw[:, :, label].ravel(), np.full(raw[:, :, label].size, label))
        np.testing.assert_allclose(mapped[:, :, label].ravel(), expected, atol=1e-5)


def test_the_weights_of_a_calibrated_model_can_be_told_from_raw_ones(outlined: Path) -> None:
    """What is put behind a layer is no weight; what is folded changes the last layer alone."""
    config = config_of("brs-retinanet", outlined)
    raw, folded = build(config).state_dict(), build(config)
    calibrate_model(folded, lines())
    changed = {name for name, weight in folded.state_dict().items() if not torch.equal(weight, raw[name])}
    assert changed == {"bbox_head.retina_cls.weight", "bbox_head.retina_cls.bias"}
