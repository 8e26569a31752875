"""Checkpoints that are damaged, and disks that are full."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from rich.console import Console

from brs_detr.errors import UserError
from brs_detr.run.run_folder import RunFolder
from brs_detr.training import keep_checkpoints
from brs_detr.training.resume import checkpoint_to_resume, is_whole
from brs_detr.training.train import train

QUIET = Console(quiet=True)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.last.parent.mkdir()
    for path in (folder.last, folder.previous):
        torch.save({"weights": torch.randn(1000), "meta": {}}, path)
    return folder


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("size", [0, 10, 1000, 4000])
@pytest.mark.fault("Checkpoints", "a checkpoint that was cut short", "is known by its checksums")
def test_a_file_that_was_cut_is_not_whole(run: RunFolder, size: int) -> None:
    assert is_whole(run.last)
    run.last.write_bytes(run.last.read_bytes()[:size])
    assert not is_whole(run.last)


@pytest.mark.fault(
    "Checkpoints",
    "one wrong bit in `last.pth`",
    "said; `--resume` goes on from `previous.pth`, and keeps the damaged file aside",
)
@pytest.mark.fault(
    "Checkpoints", "`last.pth` and `previous.pth` damaged", "a refusal that names `best.pth` to start from"
)
def test_one_wrong_bit_sends_back_to_the_checkpoint_before(run: RunFolder) -> None:
    assert checkpoint_to_resume(run, QUIET) == run.last
    flip_a_bit(run.last)
    console = Console(file=io.StringIO(), width=500)
    assert checkpoint_to_resume(run, console) == run.previous
    assert "last.pth is damaged; going on from previous.pth" in console.file.getvalue()
    assert run.can_resume and not run.last.exists() and run.last.with_name("last.pth.damaged").exists()
    assert checkpoint_to_resume(run, QUIET) == run.previous
    flip_a_bit(run.previous)
    with pytest.raises(UserError, match="are damaged"):
        checkpoint_to_resume(run, QUIET)


@pytest.mark.fault(
    "Checkpoints",
    "a run that goes on from `previous.pth`",
    "ends with the same weights as the run whose checkpoint was whole",
)
def test_a_training_goes_on_from_the_checkpoint_before(tiny_config, shapes, tmp_path) -> None:
    """Three epochs, the last file damaged, and on to three: the same weights as at first."""
    first = train(tiny_config, shapes, tmp_path / "run", seed=1, epochs=3, console=QUIET)
    expected = weights(first.last_checkpoint)
    folder = RunFolder(tmp_path / "run")
    assert torch.load(folder.previous, weights_only=True)["meta"]["epoch"] == 2
    flip_a_bit(folder.last)
    second = train(tiny_config, shapes, tmp_path / "run", seed=1, epochs=3, resume=True, console=QUIET)
    found = weights(second.last_checkpoint)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert is_whole(folder.previous) and is_whole(folder.last)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.fault(
    "Checkpoints",
    "the disk is full while a checkpoint is written",
    "a clear stop; what was saved before stays whole, also on file systems without hard links",
)
def test_a_full_disk_keeps_what_was_saved(tiny_config, shapes, tmp_path, monkeypatch, links) -> None:
    original = Runner.save_checkpoint

    def save(self, out_dir, filename, *args, **kwargs):
        if self.epoch == 2:
            Path(out_dir, filename).write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, out_dir, filename, *args, **kwargs)

    monkeypatch.setattr(Runner, "save_checkpoint", save)
    if not links:
        monkeypatch.setattr(keep_checkpoints.os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links")))
    with pytest.raises(UserError, match=r"cannot be written: No space left on device\. .*last.pth is the last one"):
        train(tiny_config, shapes, tmp_path / "run", seed=1, epochs=4, console=QUIET)
    folder = RunFolder(tmp_path / "run")
    epochs = [torch.load(path, weights_only=True)["meta"]["epoch"] for path in (folder.previous, folder.last)]
    assert epochs == [1, 2]
    assert not list(folder.last.parent.glob("*.partial"))
