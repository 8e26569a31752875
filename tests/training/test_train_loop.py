"""The training loop: steps, checkpoints within an epoch, and signals that stop it."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import ValLoop
from rich.console import Console

from brs_detr.run.run_folder import RunFolder
from brs_detr.training.train import TrainedRun, train
from brs_detr.training.train_loop import Stopped, StopSignals, TrainLoop

QUIET = Console(quiet=True)


def accumulate(num_epochs: int, num_batches: int) -> list[float]:
    """The weight after each batch, for a model whose gradient is the number of the batch in its epoch, from 1."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0), accumulative_counts=3)
    weights = []
    loop = SimpleNamespace(runner=SimpleNamespace(optim_wrapper=wrapper), dataloader=range(num_batches), position=0)
    for _ in range(num_epochs):
        TrainLoop._count_steps(loop)
        for number in range(1, num_batches + 1):
            wrapper.update_params(model(torch.full((1,), float(number))).sum())
            weights.append(-model.weight.item())
    return weights


def test_what_is_left_at_the_end_of_an_epoch_makes_a_step_of_its_own() -> None:
    """mmengine by itself would keep it for the next epoch."""
    first = [0, 0, 2, 2, 6.5]  # the means of 1, 2, 3 and of 4, 5
    assert accumulate(2, 5) == pytest.approx(first + [6.5 + weight for weight in first])


def test_set_smaller_than_the_effective_batch_is_seen_as_a_whole() -> None:
    assert accumulate(2, 2) == pytest.approx([0, 1.5, 1.5, 3])


def steps_of(run: TrainedRun) -> tuple[int, int]:
    meta = torch.load(run.last_checkpoint, weights_only=True)["meta"]
    return meta["epoch"], meta["iter"]


def stop_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    run_iter = TrainLoop.run_iter

    def run(self: TrainLoop, index: int, batch: Any) -> None:
        if self.iter == steps:
            raise KeyboardInterrupt
        run_iter(self, index, batch)

    patch.setattr(TrainLoop, "run_iter", run)


@pytest.mark.fault(
    "Interruptions",
    "killed between two batches of an accumulated step",
    "the checkpoint is of the last complete step; no gradient is lost or counted twice",
)
def test_checkpoints_within_an_epoch_are_made_where_no_gradient_waits(
    tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "accumulates.py"
    config.write_text(tiny_config.read_text() + "\noptim_wrapper.update(accumulative_counts=2)\n")
    overrides = ["train_dataloader.batch_size=1", "train_cfg.save_minutes=0"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(5, patch)
        train(config, shapes, tmp_path / "run", seed=1, epochs=1, overrides=overrides, console=QUIET)
    meta = torch.load(RunFolder(tmp_path / "run").last, weights_only=True)["meta"]
    assert (meta["epoch"], meta["iter"]) == (0, 4)


@pytest.mark.fault(
    "Several processes",
    "resumed with fewer or more GPUs",
    "from the same fraction of the epoch, with the remaining images",
)
def test_a_run_goes_on_with_another_batch_from_the_same_share_of_its_epoch(
    tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an elastic restart with fewer machines."""
    options = dict(epochs=2, console=QUIET)
    overrides = ["train_dataloader.batch_size=1", "train_cfg.save_minutes=0"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(10, patch)  # 4 of 6 in the second epoch
        train(tiny_config, shapes, tmp_path / "run", seed=1, overrides=overrides, **options)
    done: list[tuple[int, int]] = []
    run_iter = TrainLoop.run_iter

    def count(self: TrainLoop, index: int, batch: Any) -> None:
        done.append((self.epoch, index))
        run_iter(self, index, batch)

    monkeypatch.setattr(TrainLoop, "run_iter", count)
    run = train(tiny_config, shapes, tmp_path / "run", resume=True, **options)  # 3 per epoch
    assert done == [(1, 2)]
    assert steps_of(run) == (2, 6)


@pytest.mark.fault(
    "Interruptions",
    "killed while ranking losses remember earlier batches",
    "the checkpoint holds the memory of each process",
)
def test_what_ranking_losses_remember_is_resumed(
    tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "remembers.py"
    config.write_text(tiny_config.read_text() + "\nmodel['query_head'].update(ranking_memory=2)\n")
    whole = train(config, shapes, tmp_path / "whole", seed=1, epochs=1, console=QUIET)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(2, patch)
        train(config, shapes, tmp_path / "run", seed=1, epochs=1, overrides=["train_cfg.save_minutes=0"], console=QUIET)
    resumed = train(config, shapes, tmp_path / "run", resume=True, epochs=1, console=QUIET)
    first, second = (torch.load(run.last_checkpoint, weights_only=True) for run in (whole, resumed))
    assert all(torch.equal(value, second["state_dict"][name]) for name, value in first["state_dict"].items())
    (memories,) = first["meta"]["ranking_memories"]
    assert memories[0]


QUIET = Console(quiet=True)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.parametrize(("step", "number"), [(1, signal.SIGINT), (2, signal.SIGUSR1), (3, signal.SIGTERM)])
@pytest.mark.fault(
    "Interruptions",
    "Ctrl-C, SIGTERM or SIGUSR1 during training",
    "the step is finished and saved, exit code 128 + number; the resumed run equals an undisturbed one",
)
def test_the_step_is_ended_and_nothing_is_lost(
    step: int,
    number: signal.Signals,
    trained: TrainedRun,
    tiny_config: Path,
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_iter = TrainLoop.run_iter

    def interrupted(self: TrainLoop, index: int, batch: Any) -> None:
        if self.iter + 1 == step:
            os.kill(os.getpid(), number)
        run_iter(self, index, batch)

    console = Console(file=(text := io.StringIO()), width=200)
    with monkeypatch.context() as patch, pytest.raises(Stopped) as stop:
        patch.setattr(TrainLoop, "run_iter", interrupted)
        train(tiny_config, shapes, tmp_path / "run", seed=1, epochs=2, console=console)
    assert stop.value.exit_code == 128 + number
    assert "Stopping after this step." in text.getvalue()
    run = RunFolder(tmp_path / "run")
    meta = torch.load(run.last, weights_only=True)["meta"]
    assert (meta["epoch"], meta["iter"]) == (step // 3, step)
    assert json.loads(run.record.read_text())["status"] == "interrupted"
    console = Console(file=(text := io.StringIO()), width=200)
    again = train(tiny_config, shapes, run.path, epochs=2, resume=True, console=console)
    where = "after epoch 1" if step == 3 else f"in epoch 1, after {step} of 3 batches"
    assert f"Resuming {where}" in text.getvalue()
    expected, found = weights(trained.last_checkpoint), weights(run.last)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert again.best_ap == trained.best_ap


@pytest.mark.fault(
    "Interruptions", "SIGTERM during an evaluation", "it starts again when the run resumes; nothing counts twice"
)
def test_an_evaluation_begins_anew(
    trained: TrainedRun, tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_iter = ValLoop.run_iter

    def interrupted(self: ValLoop, index: int, batch: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        run_iter(self, index, batch)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(ValLoop, "run_iter", interrupted)
        train(tiny_config, shapes, tmp_path / "run", seed=1, epochs=2, console=QUIET)
    run = RunFolder(tmp_path / "run")
    assert not run.best.exists()
    again = train(tiny_config, shapes, run.path, epochs=2, resume=True, console=QUIET)
    assert again.best_ap == trained.best_ap
    assert run.predictions.read_text() == RunFolder(trained.work_dir).predictions.read_text()
    assert len(run.metrics.read_text().splitlines()) == 1 + 2 * (3 + 1)


@pytest.mark.fault("Interruptions", "a second Ctrl-C", "ends the program at once; a second SIGTERM does not")
def test_the_second_interrupt_is_obeyed_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), StopSignals(QUIET) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # torchrun and Slurm may both send it
        assert signals.received == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_is_not_told() -> None:
    found: list[int | None] = []

    def look() -> None:
        with StopSignals(QUIET) as signals:
            found.append(signals.received)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [None]
