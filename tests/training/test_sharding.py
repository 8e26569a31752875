"""A sharded model learns the same as an unsharded one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from forked_runs import run_script
from rich.console import Console

from brs_detr.checkpoints.plain_file import load_plain
from brs_detr.errors import UserError
from brs_detr.run.run_folder import RunFolder
from brs_detr.training.train import TrainedRun, train


@pytest.fixture(scope="module")
def runs(tiny_config: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """The last checkpoints of an unsharded run, a sharded run, and a sharded run that was resumed."""
    folder = tmp_path_factory.mktemp("sharded")
    config = tiny_config.with_name("sgd.py")
    sgd = 'optim_wrapper.update(optimizer=dict(_delete_=True, type="SGD", lr=0.01, momentum=0.9))\n'
    config.write_text(f"{tiny_config.read_text()}\n{sgd}param_scheduler = []\n")
    run_script("sharded_runs.py", config, shapes, folder)
    return {name: load_plain(RunFolder(folder / name).last) for name in ("copied", "shared", "resumed")}


@pytest.mark.slow
def test_it_learns_the_same(runs: dict[str, dict]) -> None:
    copied, shared = runs["copied"]["state_dict"], runs["shared"]["state_dict"]
    assert copied.keys() == shared.keys()
    for name, value in copied.items():
        assert type(shared[name]) is torch.Tensor
        torch.testing.assert_close(shared[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_it_is_resumed_to_the_same_bits(runs: dict[str, dict]) -> None:
    shared, resumed = runs["shared"], runs["resumed"]
    assert all(torch.equal(value, resumed["state_dict"][name]) for name, value in shared["state_dict"].items())
    moments = [run["optimizer"]["state"] for run in (shared, resumed)]
    assert moments[0].keys() == moments[1].keys() and moments[0]
    for number, state in moments[0].items():
        assert torch.equal(state["momentum_buffer"], moments[1][number]["momentum_buffer"])


def test_no_moving_mean_of_it(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    config = tmp_path / "with_mean.py"
    config.write_text(tiny_config.read_text() + '\ncustom_hooks = [dict(type="EMAHook")]\n')
    with pytest.raises(UserError, match="cannot have a moving average"):
        train(config, shapes, tmp_path / "run", overrides=["fsdp=True"], console=Console(quiet=True))
    assert not (tmp_path / "run").exists()


def test_a_single_process_shares_with_nobody(
    trained: TrainedRun, tiny_config: Path, shapes: Path, tmp_path: Path
) -> None:
    options = dict(seed=1, epochs=1, overrides=["fsdp=True"], console=Console(quiet=True))
    run = train(tiny_config, shapes, tmp_path / "run", **options)
    assert run.best_checkpoint.exists()
