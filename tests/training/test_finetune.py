from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from scalars import read_scalars

from brs_detr.checkpoints.checkpoint import read_checkpoint
from brs_detr.data.annotations import read_annotations
from brs_detr.errors import UserError
from brs_detr.evaluation.evaluate import evaluate
from brs_detr.run.run_folder import RunFolder
from brs_detr.run.run_record import read_record
from brs_detr.training.train import TrainedRun, default_finetune_dir, finetune

QUIET = Console(quiet=True)


def losses(run: TrainedRun) -> list[float]:
    return [record["loss"] for record in read_scalars(RunFolder(run.work_dir).scalars).train]


def save_data(folder: Path, num_images: int, names: list[str], num_val: int = 1) -> Path:
    """A dataset of grey images with one dark box each, with alternating classes."""
    for split, count in (("train", num_images), ("val", num_val)):
        images, boxes = [], []
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            pixels = np.full((64, 64, 3), 160, np.uint8)
            pixels[10:40, 8:48] = 40
            Image.fromarray(pixels).save(folder / split / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 64})
            box = {"id": number, "image_id": number, "category_id": (number - 1) % len(names), "bbox": [8, 10, 40, 30]}
            boxes.append(box)
        content = {"images": images, "annotations": boxes}
        content["categories"] = [{"id": place, "name": name} for place, name in enumerate(names)]
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def other_classes(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shapes without crosses and rings, and with one class renamed."""
    data = Path(shutil.copytree(shapes, tmp_path_factory.mktemp("other") / "data"))
    for file in (data / "annotations").iterdir():
        content = read_annotations(file)
        kept = [entry for entry in content["categories"] if entry["name"] not in ("cross", "ring")]
        kept[0]["name"] = "a round thing"
        content["categories"] = kept[::-1]
        ids = {entry["id"] for entry in kept}
        content["annotations"] = [box for box in content["annotations"] if box["category_id"] in ids]
        file.write_text(json.dumps(content))
    return data


@pytest.fixture(scope="module")
def tuned(
    trained: TrainedRun, other_classes: Path, tiny_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainedRun, str]:
    """A run of two epochs, fine-tuned from the weights of another run, and its output."""
    console = Console(file=(text := io.StringIO()), width=200)
    run = finetune(
        other_classes,
        str(tiny_config),
        tmp_path_factory.mktemp("tuned") / "run",
        weights=str(trained.work_dir),
        settings={"epochs": 2, "learning_rate": 1e-2},
        overrides=["crop=0", "model.query_head.max_auxiliary_queries=10"],
        seed=1,
        console=console,
    )
    return run, text.getvalue()


def test_fine_tuning_says_what_it_does(tuned: tuple[TrainedRun, str], trained: TrainedRun) -> None:
    text = tuned[1]
    assert f"Weights: {trained.work_dir}" in text
    assert "2, 2 steps" in text and "your setting" in text
    assert "6 images: 2 x 8 accumulated" in text
    assert "stem, 2 stages" in text
    assert "Re-made: query_head.cls_branches.0" in text
    assert "Classes that keep their weights: square, triangle, star" in text
    assert text.index("recipe") < text.index("loaded") < text.index("Seed 1.") < text.index("epoch 1/2")


def test_class_names_are_those_of_the_data(tuned: tuple[TrainedRun, str]) -> None:
    checkpoint = read_checkpoint(tuned[0].best_checkpoint)
    assert checkpoint.class_names == ("a round thing", "square", "triangle", "star")
    assert checkpoint.state_dict["atss_head.atss_cls.weight"].shape[0] == 4


def test_record_repeats_the_decisions(tuned: tuple[TrainedRun, str], trained: TrainedRun) -> None:
    record = read_record(RunFolder(tuned[0].work_dir))
    assert record["class_names"] == ["a round thing", "square", "triangle", "star"]
    decided = record["tuning"]
    assert (decided["weights"], decided["start"]) == (str(trained.work_dir), "detector")
    assert (decided["batch"], decided["effective_batch"], decided["learning_rate"]) == (2, 6, 0.01)
    assert decided["recipe"]["crop"] == 0
    config = read_checkpoint(tuned[0].best_checkpoint).config
    assert config.model.query_head.max_auxiliary_queries == 10


def test_frozen_stages_are_as_they_were(tuned: tuple[TrainedRun, str], trained: TrainedRun) -> None:
    before, after = (read_checkpoint(run.best_checkpoint).state_dict for run in (trained, tuned[0]))
    for name in ("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer2.1.bn2.weight"):
        # the moving average of equal values is rounded
        torch.testing.assert_close(before[f"backbone.{name}"], after[f"backbone.{name}"], rtol=1e-6, atol=1e-7)
    assert not torch.equal(before["neck.convs.0.conv.weight"], after["neck.convs.0.conv.weight"])


def test_best_checkpoint_holds_the_mean_that_was_evaluated(tuned: tuple[TrainedRun, str]) -> None:
    run = tuned[0]
    best = torch.load(run.best_checkpoint, weights_only=True)
    last = torch.load(run.last_checkpoint, weights_only=True)
    measured = evaluate(run.best_checkpoint, console=QUIET).metrics
    assert measured["AP"] == best["meta"]["metrics"]["coco/AP"] == run.best_ap
    assert best["meta"]["epoch"] in (1, 2)
    name = "neck.convs.0.conv.weight"
    raw = last["ema_state_dict"][f"module.{name}"]  # mmengine swaps the two when it saves
    assert not torch.equal(last["state_dict"][name], raw)
    if best["meta"]["epoch"] == 2:
        assert torch.equal(best["state_dict"][name], last["state_dict"][name])


@contextmanager
def interrupted(epoch: int) -> Iterator[None]:
    """Ctrl-C before an epoch begins."""
    from brs_detr.training.train_loop import TrainLoop

    run_epoch = TrainLoop.run_epoch

    def interrupt(self) -> None:
        if self.epoch == epoch:
            raise KeyboardInterrupt
        run_epoch(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainLoop, "run_epoch", interrupt)
        yield


def test_resumed_run_equals_one_that_was_never_interrupted(
    tuned: tuple[TrainedRun, str], other_classes: Path, trained: TrainedRun, tiny_config: Path, tmp_path: Path
) -> None:
    """Random numbers, moving average, accumulated steps and recipe continue without options on the command line."""
    options = dict(weights=str(trained.work_dir), settings={"epochs": 3}, seed=1, console=QUIET)
    whole = finetune(other_classes, str(tiny_config), tmp_path / "whole", **options)
    with interrupted(epoch=2), pytest.raises(KeyboardInterrupt):
        finetune(other_classes, str(tiny_config), tmp_path / "halves", **options)
    resumed = finetune(other_classes, str(tiny_config), tmp_path / "halves", resume=True, console=QUIET)
    assert losses(resumed)[-3:] == losses(whole)[-3:]
    first, second = (torch.load(run.last_checkpoint, weights_only=True) for run in (whole, resumed))
    assert all(torch.equal(value, second["state_dict"][name]) for name, value in first["state_dict"].items())
    assert all(torch.equal(value, second["ema_state_dict"][name]) for name, value in first["ema_state_dict"].items())


@pytest.mark.fault("Interruptions", "interrupted while early stopping counts epochs", "the count continues")
def test_early_stop(other_classes: Path, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two evaluations without improvement end the run; a resumed run continues the count."""
    aps = iter([0.0, 0.0, 0.3, 0.2, 0.2, 0.2, 0.4])  # the evaluation after epoch 4 is repeated

    def made_up(self, results) -> dict[str, float]:
        self.predictions = []
        return {"AP": (ap := next(aps)), "AP50": ap, "F1_threshold": 0.1}

    monkeypatch.setattr("brs_detr.evaluation.coco_metric.CocoAPMetric.compute_metrics", made_up)
    console = Console(file=(text := io.StringIO()), width=200)
    options = dict(settings={"epochs": 8, "evaluations": 8, "patience": 2}, seed=1, batch=6)
    with interrupted(epoch=4), pytest.raises(KeyboardInterrupt):
        finetune(other_classes, str(tiny_config), tmp_path / "run", console=QUIET, **options)
    run = finetune(other_classes, str(tiny_config), tmp_path / "run", resume=True, console=console)
    assert "Stopped early after epoch 5" in text.getvalue()
    assert run.best_ap == 0.3


@pytest.mark.parametrize("overrides", [[], ["mosaic=True", "plain_epochs=0.5"]])
def test_one_image_of_one_class(overrides: list[str], tiny_config: Path, tmp_path: Path) -> None:
    data = save_data(tmp_path / "data", 1, ["a thing with spaces"])
    run = finetune(
        data, str(tiny_config), tmp_path / "run", settings={"epochs": 2}, overrides=overrides, seed=1, console=QUIET
    )
    assert len(losses(run)) == 2
    assert np.isfinite(losses(run)).all()
    assert read_checkpoint(run.best_checkpoint).class_names == ("a thing with spaces",)


def test_one_image_and_none_to_validate_with(tiny_config: Path, tmp_path: Path) -> None:
    data = save_data(tmp_path / "data", 1, ["thing"])
    (data / "annotations" / "val.json").unlink()
    with pytest.raises(UserError, match="held out for validation"):
        finetune(data, str(tiny_config), tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


def test_three_hundred_classes(tiny_plain_config: Path, tmp_path: Path) -> None:
    data = save_data(tmp_path / "data", 2, [f"class {number}" for number in range(300)])
    run = finetune(data, str(tiny_plain_config), tmp_path / "run", settings={"epochs": 1}, seed=1, console=QUIET)
    assert len(read_checkpoint(run.last_checkpoint).class_names) == 300


def test_more_objects_than_queries(other_classes: Path, tiny_config: Path, tmp_path: Path) -> None:
    console = Console(file=(text := io.StringIO()), width=200)
    settings = {"epochs": 1, "queries": 2}
    run = finetune(other_classes, str(tiny_config), tmp_path / "run", settings=settings, console=console)
    assert "only 2 queries. Add --queries 5." in text.getvalue()
    assert read_checkpoint(run.last_checkpoint).state_dict["query_head.query_embedding.weight"].shape[0] == 2


def test_auto_batch_without_a_gpu(other_classes: Path, tiny_config: Path, tmp_path: Path) -> None:
    run = finetune(
        other_classes, str(tiny_config), tmp_path / "run", batch="auto", settings={"epochs": 1}, console=QUIET
    )
    assert read_record(RunFolder(run.work_dir))["tuning"]["batch"] == 4


def test_weights_of_another_model_leave_nothing_behind(other_classes: Path, tiny_config: Path, tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth does not fit the model: 0% of it"):
        finetune(other_classes, str(tiny_config), tmp_path / "run", weights=str(tmp_path / "w.pth"), console=QUIET)
    assert not (tmp_path / "run").exists()


def test_run_of_train_is_not_resumed(trained: TrainedRun, shapes: Path) -> None:
    with pytest.raises(UserError, match="was not trained by finetune"):
        finetune(shapes, None, trained.work_dir, resume=True, console=QUIET)


def test_default_place(tmp_path: Path) -> None:
    (tmp_path / "bees").mkdir()
    (tmp_path / "bees" / "data.yaml").touch()
    assert default_finetune_dir(tmp_path / "bees", "r50") == Path("work_dirs/bees_r50")
    assert default_finetune_dir(tmp_path / "bees" / "data.yaml", "x/my.py") == Path("work_dirs/bees_my")
