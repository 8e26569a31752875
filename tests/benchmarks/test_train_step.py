from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from loss_types import classification_losses
from train_step import (
    LOSSES,
    Setting,
    TrainStep,
    bench_train_step,
    main,
    make_parser,
    step_config,
    suite_rows,
)

from brs_detr.data.loading.registry import register
from brs_detr.heads.ranking import LoopRankSortLoss, RankSortLoss
from brs_detr.reproduce import tables
from measuring import results

CONFIG = "brs-co-deformable-detr_r18_1xb4-12e_coco"
SMALL = ["--size", "64x96", "--images", "1", "--repeats", "1", "--seconds", "0"]


def setting(**changes) -> Setting:
    return Setting(CONFIG, torch.device("cpu"), num_images=1, size=(64, 96), num_objects=3, **changes)


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_is_in_every_head(loss: str) -> None:
    register()
    model = step_config(setting(), loss).model
    types = {
        head.loss_cls.type for head in (model.query_head, model.rpn_head, model.roi_head.bbox_head, model.atss_head)
    }
    assert types == ({LOSSES[loss]} if LOSSES[loss] else {"FocalLoss", "CrossEntropyLoss"})


def test_a_step_moves_the_weights_and_its_losses_can_be_repeated() -> None:
    register()
    step = TrainStep(setting(), "exact")
    before = step.model.query_head.query_embedding.weight.clone()
    step()
    assert not torch.equal(before, step.model.query_head.query_embedding.weight)
    step.classification()()
    assert step.state_bytes > 4 * 4 * 1e6


def test_options_reach_the_model() -> None:
    register()
    config = step_config(setting(amp=True, checkpointing=True, separate=True), "bucketed")
    assert config.optim_wrapper.type == "AutocastOptimWrapper"
    assert config.model.backbone.with_cp and config.model.query_head.transformer.checkpoint_encoder
    assert not config.model.query_head.merge_decoder_passes


def test_the_loop_gives_the_numbers_of_the_exact_loss() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 60, dtype=torch.float64)
    targets = torch.zeros(2, 60, dtype=torch.float64)
    targets[:, :6] = torch.rand(2, 6, dtype=torch.float64)
    for rows in (logits, logits[0]):
        expected, found = (
            loss(delta=0.5, loss_weight=3.0)(rows, targets[: len(rows)] if rows.dim() == 2 else targets[0])
            for loss in (RankSortLoss, LoopRankSortLoss)
        )
        torch.testing.assert_close(found.rank, expected.rank)
        torch.testing.assert_close(found.sort, expected.sort)


def test_out_of_memory_is_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    register()

    def fail(self: TrainStep) -> None:
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(TrainStep, "__call__", fail)
    (record,) = bench_train_step(setting(), ["exact"], repeats=1, seconds=0)
    assert (record.failure, record.median_s, record.loss_share) == ("out of memory", None, None)


def test_memory_that_ends_after_the_timing_costs_a_figure_and_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    register()

    def fail(self: TrainStep) -> None:
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(TrainStep, "classification", fail)
    (record,) = bench_train_step(setting(), ["exact"], repeats=1, seconds=0)
    assert record.median_s is not None and record.peak_bytes is not None
    assert (record.loss_s, record.loss_share, record.failure) == (None, None, None)


def test_the_script_writes_a_record_for_each_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "steps.json"
    results.run(make_parser(), main, ["--config", CONFIG, *SMALL, "--loss", "score-based", "exact", "--out", str(out)])
    focal, exact = json.loads(out.read_text())["records"]
    assert (focal["config"], exact["config"]) == (CONFIG.removeprefix("brs-"), CONFIG)
    for record in (focal, exact):
        assert record["median_s"] > record["loss_s"] > 0
        assert 0 < record["loss_share"] < 1
        assert record["peak_bytes"] > 1e7
    assert "to score-based" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        results.run(make_parser(), main, [*SMALL, "--with", "fp8"])
    assert "unknown option fp8" in capsys.readouterr().err


@pytest.mark.parametrize("row", tables.suite(), ids=lambda row: row.name)
@pytest.mark.parametrize("loss", ["score-based", "loop"])
def test_the_losses_of_every_detector_of_the_suite(row, loss: str) -> None:
    register()
    one = Setting(row.config, torch.device("cpu"))
    types = classification_losses(step_config(one, loss).model)
    assert types == ({"LoopRankSortLoss"} if loss == "loop" else {"score-based"})


def test_published_speed_ups() -> None:
    assert tables.published_speed_up("brs-cascade-rcnn_r50_fpn_4xb4-12e_coco") == pytest.approx(1.54 / 0.29)
    assert tables.published_speed_up("brs-paa_r50_fpn_4xb4-12e_coco") is None


def test_a_step_with_masks() -> None:
    register()
    step = TrainStep(Setting("brs-mask-rcnn_r50_fpn_4xb4-12e_coco", torch.device("cpu"), 1, (64, 96), 3), "exact")
    step()
    (sample,) = step.batch["data_samples"]
    assert sample.gt_instances.masks.masks.shape == (3, 64, 96)
    assert all(mask.any() for mask in sample.gt_instances.masks.masks)


def test_the_suite_is_a_table() -> None:
    def record(loss: str, seconds: float | None) -> dict:
        prefix = "" if loss == "score-based" else "brs-"
        return {"config": f"{prefix}atss_r50_fpn_4xb4-12e_coco", "loss": loss, "median_s": seconds, "loss_share": 0.125}

    records = [record(*pair) for pair in (("score-based", 2.0), ("loop", 5.0), ("bucketed", 2.5), ("exact", None))]
    (row,) = suite_rows(records)
    assert row == ["atss_r50_fpn_4xb4-12e_coco", "2.000", "", "1.25", "2.50", "12.5%", "2.00", "", "2.3"]
