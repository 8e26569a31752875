from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner
from mmengine.model import BaseModel

from brs_detr.cli import doctor
from brs_detr.errors import UserError
from brs_detr.mm import installation
from brs_detr.mm.installation import Check
from brs_detr.mm.ops.selftest import SelfTest
from brs_detr.training.quiet_runner import QuietRunner


def run() -> tuple[int, str]:
    result = CliRunner().invoke(doctor.command)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_here_everything_works():
    code, output = run()
    assert code == 0, output
    assert "torch" in output
    assert "multi_scale_deformable_attention" in output
    assert "training step (cpu)" in output
    assert output.rstrip().endswith("Everything works.")
    assert "\x1b" not in output  # no colours outside a terminal
    assert "│" not in output


def test_broken_installation_names_the_hint_and_tests_nothing(monkeypatch):
    fault = Check("mmcv", "fault", "not installed", "`pip install -e '.[lite]'`")
    monkeypatch.setattr(installation, "check_installation", lambda: [fault])
    monkeypatch.setattr(doctor, "check_operators", lambda device: pytest.fail("tested a broken installation"))
    code, output = run()
    assert code == 1
    assert "Hint for mmcv: `pip install -e '.[lite]'`" in output
    assert output.rstrip().endswith("Broken: mmcv.")


def test_a_note_is_not_a_fault(monkeypatch):
    note = Check("GPU", "note", "driver too old", "Update the driver")
    monkeypatch.setattr(installation, "check_installation", lambda: [note])
    monkeypatch.setattr(doctor, "check_operators", lambda device: [])
    monkeypatch.setattr(doctor, "check_training", lambda: Check("training step (cpu)", "ok", "1 ms"))
    code, output = run()
    assert code == 0
    assert "Hint for GPU: Update the driver" in output


def test_failing_op_and_failing_step(monkeypatch):
    monkeypatch.setattr(
        "brs_detr.mm.ops.selftest.run_self_tests", lambda device: [SelfTest("nms", device, 0.1, "[wrong]")]
    )

    def fail(config: str) -> None:
        raise ValueError("the loss or a gradient is not finite")

    monkeypatch.setattr(doctor, "train_one_step", fail)
    checks = [*doctor.check_operators("cpu"), doctor.check_training()]
    assert [(check.name, check.status) for check in checks] == [
        ("nms (cpu)", "fault"),
        ("training step (cpu)", "fault"),
    ]
    code, output = run()
    assert code == 1
    assert "[wrong]" in output  # printed as it is, not read as markup
    assert "ValueError: the loss or a gradient is not finite" in output


def test_training_step_rejects_a_loss_that_is_not_finite(monkeypatch, tiny_config):
    parse_losses = BaseModel.parse_losses
    monkeypatch.setattr(
        BaseModel, "parse_losses", lambda self, losses: (parse_losses(self, losses)[0] * torch.nan, {"loss": torch.nan})
    )
    with pytest.raises(ValueError, match="the loss or a gradient is not finite"):
        doctor.train_one_step(tiny_config)


def test_the_training_step_is_made_by_the_runner_of_every_training(monkeypatch, tiny_config):
    def stumble(self):
        raise AttributeError("module 'pkgutil' has no attribute 'find_loader'")

    monkeypatch.setattr(QuietRunner, "train", stumble)
    monkeypatch.setattr(doctor, "CONFIG", tiny_config)
    check = doctor.check_training()
    assert (check.status, check.detail) == (
        "fault",
        "AttributeError: module 'pkgutil' has no attribute 'find_loader'",
    )


def test_what_to_do_about_a_refused_training_is_told(monkeypatch):
    def refuse(config: str) -> None:
        raise UserError("This is wrong.", "Do that.")

    monkeypatch.setattr(doctor, "train_one_step", refuse)
    check = doctor.check_training()
    assert (check.detail, check.hint) == ("This is wrong.", "Do that.")
