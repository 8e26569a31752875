from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import ModuleType

import pytest
from mmengine import Config

from brs_detr.errors import UserError
from brs_detr.run.run_folder import read_rows
from brs_detr.training import loggers
from brs_detr.training.loggers import FIRST, MetricsCsv, set_loggers
from brs_detr.training.train import TrainedRun


def training(loss: float, epoch: int = 1) -> dict[str, float]:
    return {
        "loss": loss,
        "roi.loss_rank": loss / 2,
        "epoch": epoch,
        "lr": 1e-3,
        "time": 0.5,
        "data_time": 0.1,
        "iter": 1,
    }


@pytest.fixture
def backend(tmp_path: Path) -> MetricsCsv:
    return MetricsCsv(str(tmp_path / "vis_data"), images_per_step=4)


def test_losses_and_metrics_share_a_table(backend: MetricsCsv) -> None:
    backend.add_scalars(training(3.0), step=10)
    backend.add_scalars({"coco/AP": 0.25, "coco/AP50": 0.5, "data_time": 0.1, "time": 0.2}, step=1)
    backend.add_scalars(training(2.0, epoch=2), step=20)
    train, val, later = read_rows(backend.path)
    assert list(train)[: len(FIRST)] == list(FIRST)
    assert (train["iteration"], train["loss"], train["roi.loss_rank"], train["images_per_second"]) == (
        "10", "3.0", "1.5", "8.0",
    )  # fmt: skip
    assert int(train["memory_mb"]) > 0
    assert train["AP"] == val["loss"] == ""
    assert (val["iteration"], val["epoch"], val["AP"], val["AP50"]) == ("10", "1", "0.25", "0.5")
    assert (later["iteration"], later["epoch"]) == ("20", "2")


@pytest.mark.fault(
    "Interruptions",
    "killed while a line of `metrics.csv` is written",
    "the incomplete line is dropped; no row is repeated",
)
def test_a_resumed_run_repeats_no_row_and_drops_a_torn_one(backend: MetricsCsv, tmp_path: Path) -> None:
    for step in (10, 20, 30):
        backend.add_scalars(training(3.0), step=step)
    with backend.path.open("a") as file:
        file.write("40,1,0.0")  # incomplete, since the process was killed
    resumed = MetricsCsv(str(tmp_path / "vis_data"), images_per_step=4)
    resumed.add_scalars(training(9.0), step=30)
    assert [(row["iteration"], row["loss"]) for row in read_rows(backend.path)] == [
        ("10", "3.0"), ("20", "3.0"), ("30", "9.0"),
    ]  # fmt: skip


def test_an_evaluation_before_any_training_has_no_row(backend: MetricsCsv) -> None:
    backend.add_scalars({"coco/AP": 0.25}, step=1)
    backend.add_scalar("x", 1.0)
    assert read_rows(backend.path) == []


def test_a_run_writes_it(trained: TrainedRun) -> None:
    with (trained.work_dir / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows if row["loss"]] == ["1", "2", "3", "4", "5", "6"]
    assert [row["epoch"] for row in rows if row["AP"]] == ["1", "2"]
    assert all(float(row["lr"]) > 0 and float(row["grad_norm"]) > 0 for row in rows if row["loss"])
    assert list((trained.work_dir / "vis_data").glob("events.out.tfevents*"))


def types(config: Config) -> list[str]:
    return [backend["type"] for backend in config.visualizer.vis_backends]


def test_csv_and_tensorboard_always(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config({})
    set_loggers(config, [], 4, "run")
    assert types(config) == ["LocalVisBackend", "TensorboardVisBackend", "MetricsCsv"]


def test_what_the_config_lists_stays() -> None:
    config = Config(
        {"visualizer": {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend", "save_dir": "x"}]}}
    )
    set_loggers(config, [], 4, "run")
    assert types(config) == ["LocalVisBackend", "TensorboardVisBackend", "MetricsCsv"]
    assert config.visualizer.vis_backends[0].save_dir == "x"


@pytest.mark.parametrize("service", ["wandb", "mlflow"])
def test_a_service_is_told_or_missed(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"pip install {service}"):
        set_loggers(Config({}), [service], 4, "run")
    monkeypatch.setattr(loggers, "find_spec", lambda name: ModuleType(name))
    config = Config({})
    set_loggers(config, [service, service], 4, "run")
    assert types(config)[3:] == [loggers.SERVICES[service]]
    assert "run" in str(config.visualizer.vis_backends[3])
    assert service not in sys.modules
