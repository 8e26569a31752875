"""A training that is asked to end."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner import ValLoop
from rich.console import Console

from brs_detr.run.run_folder import RunFolder
from brs_detr.training.stop_signals import Stopped, StopSignals
from brs_detr.training.train import TrainedRun, train
from brs_detr.training.train_loop import TrainLoop

QUIET = Console(quiet=True)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.parametrize(("step", "number"), [(1, signal.SIGINT), (2, signal.SIGUSR1), (3, signal.SIGTERM)])
@pytest.mark.fault(
    "Interruptions",
    "Ctrl-C, SIGTERM or SIGUSR1 in training",
    "the step is ended and saved, exit code 128 + number; the run goes on as if nothing had been",
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
    assert f"Going on {where}" in text.getvalue()
    expected, found = weights(trained.last_checkpoint), weights(run.last)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert again.best_ap == trained.best_ap


@pytest.mark.fault(
    "Interruptions", "SIGTERM in an evaluation", "it begins anew when the run goes on; nothing is counted twice"
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


@pytest.mark.fault("Interruptions", "a second Ctrl-C", "ends at once; a SIGTERM sent twice does not")
def test_the_second_interrupt_is_obeyed_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), StopSignals(QUIET) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # as torchrun and Slurm may both send it
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
