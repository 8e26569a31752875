from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from tiny_runs import with_other_category_ids

from brs_detr.checkpoints.checkpoint import read_checkpoint
from brs_detr.config.config_text import parse_config_text
from brs_detr.errors import UserError
from brs_detr.evaluation.evaluate import Evaluation, evaluate, truth_and_detections, write_evaluation
from brs_detr.training.train import TrainedRun

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def evaluation(trained: TrainedRun, shapes: Path) -> Evaluation:
    return evaluate(trained.best_checkpoint, shapes, "val", device="cpu", console=QUIET)


def test_same_numbers_as_in_training(evaluation: Evaluation, trained: TrainedRun) -> None:
    seen = torch.load(trained.best_checkpoint, weights_only=True)["meta"]["metrics"]
    assert {f"coco/{key}": value for key, value in evaluation.metrics.items()} == seen


def test_data_of_the_training_are_the_default(evaluation: Evaluation, trained: TrainedRun) -> None:
    again = evaluate(trained.best_checkpoint, device="cpu", console=QUIET)  # val, since there is no test split
    assert again.metrics == evaluation.metrics
    assert again.num_images == 4
    assert again.split == evaluation.split


@pytest.mark.parametrize("head", ["roi", "atss"])
def test_every_head_can_be_evaluated(evaluation: Evaluation, trained: TrainedRun, head: str) -> None:
    other = evaluate(trained.best_checkpoint, head=head, device="cpu", console=QUIET)
    assert other.predictions
    assert other.predictions != evaluation.predictions


def test_unknown_head(trained: TrainedRun) -> None:
    with pytest.raises(UserError, match="--head fcos: eval_head is one of query, roi, atss"):
        evaluate(trained.best_checkpoint, head="fcos", device="cpu", console=QUIET)


def test_one_gpu_for_several_processes(trained: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"Several processes cannot share the GPU.*\s+Leave out --device"):
        evaluate(trained.best_checkpoint, device="cuda:1", console=QUIET)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("/data/gone/val.json", "refers to /data/gone/val.json, which does not exist"),
        ("", "names no data to evaluate it on"),
    ],
)
def test_data_of_the_training_that_are_gone(trained: TrainedRun, file: str, message: str) -> None:
    checkpoint = read_checkpoint(trained.best_checkpoint)
    for phase in ("val", "test"):
        checkpoint.config[f"{phase}_dataloader"].dataset.update(data_root="", ann_file=file)
    with pytest.raises(UserError, match=rf"{message}\.\s+Name a dataset with --data DATA"):
        evaluate(checkpoint, device="cpu", console=QUIET)


def test_missing_split(trained: TrainedRun, shapes: Path) -> None:
    with pytest.raises(UserError, match="has no test split, only train, val"):
        evaluate(trained.best_checkpoint, shapes, "test", console=QUIET)


def test_data_with_other_classes(trained: TrainedRun, shapes: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    text = (data / "annotations" / "val.json").read_text().replace('"star"', '"moon"')
    (data / "annotations" / "val.json").write_text(text)
    with pytest.raises(UserError, match=r"only one of them has moon, star"):
        evaluate(trained.best_checkpoint, data, "val", console=QUIET)


def test_order_and_ids_of_the_categories_do_not_matter(
    evaluation: Evaluation, trained: TrainedRun, shapes: Path, tmp_path: Path
) -> None:
    data = with_other_category_ids(shapes, tmp_path / "data")
    other = evaluate(trained.best_checkpoint, data, "val", device="cpu", console=QUIET)
    assert other.metrics == pytest.approx(evaluation.metrics, abs=1e-12)


def test_model_that_finds_nothing(trained: TrainedRun, tmp_path: Path) -> None:
    content = torch.load(trained.best_checkpoint, weights_only=True)
    config = parse_config_text(content["meta"]["cfg"], "the checkpoint")
    config.model.roi_head.bbox_head.lowest_score = 2.0
    content["meta"]["cfg"] = config.pretty_text
    torch.save(content, tmp_path / "blind.pth")
    blind = evaluate(tmp_path / "blind.pth", head="roi", device="cpu", console=QUIET)
    assert blind.predictions == []
    assert blind.metrics["AP"] == 0
    write_evaluation(blind, tmp_path / "out")


def test_files(evaluation: Evaluation, tmp_path: Path) -> None:
    write_evaluation(evaluation, tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {key: metrics[key] for key in evaluation.metrics} == evaluation.metrics
    assert metrics["per_class"]["circle"].keys() == {"AP", "AP50", "boxes"}
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == evaluation.predictions
    with Image.open(tmp_path / "out" / "pictures.jpg") as sheet:
        assert sheet.width > 1000


def test_pictures_show_truth_and_detections(evaluation: Evaluation) -> None:
    without, with_all = (truth_and_detections(evaluation, 2, score_threshold=score) for score in (1.1, 0.0))
    assert without.size == with_all.size
    quarter = without.width // 4
    left, right = (0, 0, quarter, without.height), (quarter, 0, 2 * quarter, without.height)
    assert without.crop(left).tobytes() == with_all.crop(left).tobytes()
    assert without.crop(right).tobytes() != with_all.crop(right).tobytes()
