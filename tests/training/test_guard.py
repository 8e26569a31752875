"""Training with values that are not finite: what is skipped, when training stops, and what can be replayed."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from mmengine.optim import OptimWrapper
from rich.console import Console
from scalars import read_scalars
from torch import nn

from brs_detr.cli import main
from brs_detr.errors import UserError
from brs_detr.run.run_folder import RunFolder
from brs_detr.training.guard import AutocastOptimWrapper, GuardedOptimWrapper
from brs_detr.training.registry import register
from brs_detr.training.replay import replay
from brs_detr.training.train import train

QUIET = Console(quiet=True)
DROPOUT = "model.query_head.transformer.decoder.layer_cfg.ffn_cfg.ffn_drop=0.5"


def wrapper(**options) -> tuple[nn.Linear, GuardedOptimWrapper]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 1)
    return layer, GuardedOptimWrapper(torch.optim.AdamW(layer.parameters(), 0.1), **options)


@pytest.mark.parametrize("kind", ["loss", "gradient"])
@pytest.mark.fault(
    "Numbers",
    "a loss or a gradient is NaN or infinite",
    "weights and moments are unchanged; running statistics are restored",
)
def test_a_step_that_is_not_finite_changes_nothing(kind):
    layer, optimizer = wrapper()
    optimizer.update_params(layer(torch.ones(3)).sum())
    before, moments = layer.weight.clone(), str(optimizer.optimizer.state_dict())
    if kind == "loss":
        loss = layer(torch.ones(3)).sum() + torch.tensor(float("inf"))
    else:
        loss = layer(torch.zeros(3)).abs().sqrt().sum() * 0 + (layer.weight - layer.weight).abs().sqrt().sum()
        assert loss.isfinite()
    optimizer.update_params(loss)
    assert torch.equal(layer.weight, before)
    assert str(optimizer.optimizer.state_dict()) == moments
    assert (optimizer.num_skipped, optimizer.skipped_in_a_row) == (1, 1)
    optimizer.update_params(layer(torch.ones(3)).sum())
    assert not torch.equal(layer.weight, before)
    assert (optimizer.num_skipped, optimizer.skipped_in_a_row) == (1, 0)


@pytest.mark.fault("Numbers", "one of several accumulated losses is not finite", "the whole step is skipped")
def test_one_bad_loss_spoils_all_that_is_accumulated():
    layer, optimizer = wrapper(accumulative_counts=2)
    optimizer.initialize_count_status(layer, 0, 100)
    before = layer.weight.clone()
    optimizer.update_params(layer(torch.ones(3)).sum() + float("nan"))
    optimizer.update_params(layer(torch.ones(3)).sum())
    assert torch.equal(layer.weight, before)
    for _ in range(2):
        optimizer.update_params(layer(torch.ones(3)).sum())
    assert not torch.equal(layer.weight, before)


def test_finite_steps_are_those_of_mmengine():
    guarded, optimizer = wrapper(clip_grad=dict(max_norm=0.1))
    plain = nn.Linear(3, 1)
    plain.load_state_dict(guarded.state_dict())
    other = OptimWrapper(torch.optim.AdamW(plain.parameters(), 0.1), clip_grad=dict(max_norm=0.1))
    for _ in range(3):
        for layer, one in ((guarded, optimizer), (plain, other)):
            one.update_params(layer(torch.arange(3.0)).square().sum())
    assert torch.equal(guarded.weight, plain.weight)


@pytest.fixture
def spoil(monkeypatch):
    """Make the images of some batches infinite, and return the paths of the images of all batches so far."""
    register()
    from mmdet.models.data_preprocessors import DetDataPreprocessor

    original, batches = DetDataPreprocessor.forward, []

    def install(is_spoilt):
        def forward(self, data, training=False):
            result = original(self, data, training)
            if training:
                if is_spoilt(len(batches)):
                    result["inputs"] = result["inputs"] + float("inf")
                batches.append([sample.img_path for sample in data["data_samples"]])
            return result

        monkeypatch.setattr(DetDataPreprocessor, "forward", forward)
        return batches

    return install


@pytest.mark.fault(
    "Numbers", "single steps are not finite", "skipped, reported with their images, counted in `run.json`"
)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_training_goes_on_after_a_bad_step(accumulation, spoil, tiny_config, shapes, tmp_path):
    """Neither weights nor statistics of BatchNorm reach the moving average."""
    bad = 2 - accumulation  # the first batch, if two are accumulated
    batches = spoil(lambda batch: batch == bad)
    console = Console(record=True, width=200)
    config = tmp_path / "with_mean.py"
    mean = '\ncustom_hooks = [dict(type="EMAHook", momentum=0.1, update_buffers=True)]\n'
    accumulate = f"optim_wrapper.update(accumulative_counts={accumulation})\n"
    config.write_text(tiny_config.read_text() + mean + accumulate)
    run = train(config, shapes, tmp_path / "run", seed=1, epochs=2, console=console)
    text = console.export_text()
    assert "Step 2 is skipped: " in text and "loss_rank" in text
    assert f"(images: {', '.join(batches[bad])})" in text.replace("\n", "")
    assert all(isfinite(row["loss"]) for row in read_scalars(RunFolder(run.work_dir).scalars).train if "loss" in row)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["skipped_steps"]) == ("finished", 1)
    content = torch.load(run.last_checkpoint, weights_only=True)
    for weights in (content["state_dict"], content["ema_state_dict"]):
        assert all(value.isfinite().all() for value in weights.values())


@pytest.mark.fault(
    "Numbers",
    "ten steps in a row are not finite",
    "training stops; batch, weights and seeds are saved, and `brs-detr replay` names the layer",
)
def test_a_training_that_goes_on_and_on_wrong_is_stopped_and_can_be_replayed(spoil, tiny_config, shapes, tmp_path):
    spoil(lambda step: step >= 1)
    folder = tmp_path / "run"
    with pytest.raises(UserError, match=r"The last 10 steps were skipped.*\s+`brs-detr replay .*failed_step.pth`"):
        train(tiny_config, shapes, folder, seed=1, epochs=12, console=QUIET)
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["skipped_steps"]) == ("failed", 10)
    content = torch.load(folder / "failed_step.pth", weights_only=True)
    assert (content["step"], content["seeds"]) == (11, [1, 10, 0])
    assert all(value.isfinite().all() for value in content["state_dict"].values())
    repeated = replay(folder / "failed_step.pth")
    assert repeated.first_layer == "backbone.conv1"
    assert not repeated.is_finite
    assert repeated.weights == []
    assert all(Path(image).is_file() for image in repeated.images)
    result = CliRunner().invoke(main, ["replay", str(folder / "failed_step.pth")])
    assert result.exit_code == 0, result.output
    assert "first layer with an output that is not finite: backbone.conv1" in result.output
    assert "loss_rank" in result.output


def test_of_accumulated_batches_the_bad_one_is_kept(spoil, tiny_config, shapes, tmp_path):
    """Three batches per epoch make two steps. The bad batches are the first of two, and the single one."""
    batches = spoil(lambda batch: batch >= 2 and batch % 3 != 1)
    config, run = tmp_path / "accumulating.py", tmp_path / "run"
    config.write_text(tiny_config.read_text() + "\noptim_wrapper.update(accumulative_counts=2)\n")
    with pytest.raises(UserError, match="The last 10 steps were skipped, the last one because .*loss_rank"):
        train(config, shapes, run, seed=1, epochs=12, console=QUIET)
    content = torch.load(run / "failed_step.pth", weights_only=True)
    assert (content["step"], content["seeds"]) == (17, [1, 15, 0])
    repeated = replay(run / "failed_step.pth")
    assert repeated.images == batches[15] != batches[16]
    assert not repeated.is_finite


def test_of_several_processes_the_one_with_the_bad_batch_is_named(spoil, tiny_config, shapes, tmp_path, monkeypatch):
    """All processes skip the step, although the others see only bad gradients."""
    from brs_detr.training import guard

    other = (["atss.loss_rank"], ["b.jpg"], Path("failed_step_rank1.pth"))
    monkeypatch.setattr(guard, "of_all", lambda mine: [([], *mine[1:]), other])
    spoil(lambda batch: batch >= 1)
    console = Console(record=True, width=200)
    with pytest.raises(UserError, match="`brs-detr replay failed_step_rank1.pth` repeats the last one"):
        train(tiny_config, shapes, tmp_path, seed=1, epochs=12, console=console)
    assert "Step 2 is skipped: atss.loss_rank is not finite (images: b.jpg)." in console.export_text()


def test_a_step_that_was_right_is_repeated_to_the_same_numbers(tiny_config, shapes, tmp_path, monkeypatch):
    """Replaying a good step gives the same losses as the training, with the same dropout."""
    from brs_detr.training import guard

    logged = []

    def keep(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 1:
            self.patience = 0
            self._report(runner, guard._Batch(data_batch, guard.seeds_of_step(runner), []))

    def remember(self, losses):
        result = parse(self, losses)
        logged.append({name: value.item() for name, value in losses.items() if not isinstance(value, list)})
        return result

    from mmengine.model import BaseModel

    parse = BaseModel.parse_losses
    monkeypatch.setattr(BaseModel, "parse_losses", remember)
    monkeypatch.setattr(guard.GuardNumbers, "after_train_iter", keep)
    monkeypatch.setattr(GuardedOptimWrapper, "step", lambda self, **kwargs: None)  # keep the weights
    with pytest.raises(UserError):
        train(tiny_config, shapes, tmp_path / "run", seed=1, epochs=1, overrides=[DROPOUT], console=QUIET)
    repeated = replay(tmp_path / "run" / "failed_step.pth")
    assert repeated.is_finite
    for name, value in logged[1].items():
        assert repeated.losses[name] == pytest.approx(value, rel=1e-5), name
    result = CliRunner().invoke(main, ["replay", str(tmp_path / "run" / "failed_step.pth")])
    assert "All numbers are finite on this device." in result.output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Cannot open"),
        (b"nonsense", "is damaged or not a checkpoint"),
        ({"state_dict": {}}, "is not a training step"),
    ],
)
def test_files_that_are_no_step(content, message, tmp_path):
    path = tmp_path / "failed_step.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    result = CliRunner().invoke(main, ["replay", str(path)])
    assert result.exit_code == 2
    assert message in result.output


def test_forward_runs_in_bfloat16_and_weights_stay_float32(device: torch.device) -> None:
    model = torch.nn.Linear(4, 4).to(device)
    wrapper = AutocastOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        output = model(torch.ones(2, 4, device=device))
    assert output.dtype == torch.bfloat16
    wrapper.update_params(output.float().square().sum())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)
    assert not hasattr(wrapper, "loss_scaler")
