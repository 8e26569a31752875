"""Score cuts in old configs are removed for evaluation, with a message."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from brs_detr.checkpoints.checkpoint import leave_out_cuts, read_checkpoint, warn_of_cut
from brs_detr.config.config import load_config
from brs_detr.evaluation.evaluate import evaluate
from brs_detr.training.train import TrainedRun


@pytest.mark.parametrize(
    ("name", "part", "cut"),
    [
        ("brs-atss_r50_fpn_4xb4-12e_coco", None, 0.05),
        ("ap-retinanet_r50_fpn_4xb4-12e_coco", None, 0.05),
        ("brs-paa_r50_fpn_4xb4-12e_coco", None, 0.05),
        ("brs-faster-rcnn_r50_fpn_4xb4-12e_coco", "rcnn", 0.4),
        ("brs-cascade-rcnn_r50_fpn_4xb4-12e_coco", "rcnn", 0.4),
        ("brs-mask-rcnn_r50_fpn_4xb4-12e_lvis-v1", "rcnn", 0.6),
    ],
)
def test_a_cut_of_a_head_that_ranks_is_left_out(name: str, part: str | None, cut: float) -> None:
    model = load_config(name).model
    settings = model.test_cfg[part] if part else model.test_cfg
    shipped = dict(settings)
    settings.score_thr = cut
    if part:
        del settings.nms_pre
    assert leave_out_cuts(model) == cut
    assert settings == shipped


def test_a_cut_of_a_score_based_head_stays() -> None:
    for name in ("atss_r50_fpn_4xb4-12e_coco", "faster-rcnn_r50_fpn_4xb4-12e_coco"):
        model = load_config(name).model
        before = model.to_dict()
        assert leave_out_cuts(model) == 0 and model.to_dict() == before


@pytest.mark.parametrize(
    "model",
    [
        {"test_cfg": [1]},
        {"test_cfg": 3, "roi_head": [1]},
        {"test_cfg": {"rcnn": {"score_thr": 0.4}}, "roi_head": {"bbox_head": []}},
        {"test_cfg": {"score_thr": None}, "bbox_head": {"type": "RankingATSSHead"}},
        {"test_cfg": {"score_thr": [1]}, "bbox_head": {"type": "RankingATSSHead"}},
    ],
    ids=str,
)
def test_what_else_a_file_may_say_there_is_no_cut(model: dict[str, Any]) -> None:
    assert leave_out_cuts(model) == 0
    assert warn_of_cut(model, 0.4) is None


def test_a_number_of_detections_that_is_none_is_the_usual_one() -> None:
    settings = {"score_thr": 0.4, "max_per_img": None}
    model = {"test_cfg": {"rcnn": settings}, "roi_head": {"bbox_head": {"type": "RankingShared2FCBBoxHead"}}}
    assert leave_out_cuts(model) == 0.4
    assert settings["nms_pre"] == 1000


def test_a_best_threshold_at_the_cut_is_told() -> None:
    model = load_config("atss_r50_fpn_4xb4-12e_coco").model
    assert "score_thr=0.05" in (warn_of_cut(model, 0.061) or "")
    assert warn_of_cut(model, 0.3) is None
    assert warn_of_cut(load_config("brs-atss_r50_fpn_4xb4-12e_coco").model, 0.001) is None


@pytest.fixture
def old(trained: TrainedRun, tmp_path: Path) -> Path:
    """Make a checkpoint whose ATSS head drops everything, as a cut of 0.05 does for low scores."""
    content = torch.load(trained.best_checkpoint, weights_only=True)
    content["meta"]["cfg"] = content["meta"]["cfg"].replace("score_thr=0.0", "score_thr=0.99")
    content["meta"]["cfg"] = content["meta"]["cfg"].replace("'score_thr': 0.0", "'score_thr': 0.99")
    content["meta"].pop("calibrations", None)
    torch.save(content, tmp_path / "old.pth")
    return tmp_path / "old.pth"


def test_an_old_checkpoint_is_evaluated_right(old: Path, trained: TrainedRun) -> None:
    assert read_checkpoint(old).left_out_cut == 0.99
    shown = io.StringIO()
    found = evaluate(old, head="atss", device="cpu", console=Console(file=shown, width=200))
    expected = evaluate(trained.best_checkpoint, head="atss", device="cpu", console=Console(quiet=True))
    assert found.metrics == expected.metrics and len(found.predictions) == len(expected.predictions) > 0
    assert "drops scores below 0.99, which has no meaning after a ranking loss" in shown.getvalue()
