from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner
from mmengine.model import BaseModel

from brs_detr.cli import doctor
from brs_detr.ops import installation
from brs_detr.ops.installation import Check
from brs_detr.ops.selftest import SelfTest


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


def test_broken_installation_names_the_cure_and_tests_nothing(monkeypatch):
    fault = Check("mmcv", "fault", "not installed", "`pip install 'brs-detr[lite]'`")
    monkeypatch.setattr(installation, "check_installation", lambda: [fault])
    monkeypatch.setattr(doctor, "self_test", lambda device: pytest.fail("tested a broken installation"))
    code, output = run()
    assert code == 1
    assert "Cure for mmcv: `pip install 'brs-detr[lite]'`" in output
    assert output.rstrip().endswith("Broken: mmcv.")


def test_a_note_is_not_a_fault(monkeypatch):
    note = Check("GPU", "note", "driver too old", "Update the driver")
    monkeypatch.setattr(installation, "check_installation", lambda: [note])
    monkeypatch.setattr(doctor, "self_test", lambda device: [])
    code, output = run()
    assert code == 0
    assert "Cure for GPU: Update the driver" in output


def test_failing_op_and_failing_step(monkeypatch):
    monkeypatch.setattr(
        "brs_detr.ops.selftest.run_self_tests", lambda device: [SelfTest("nms", device, 0.1, "[wrong]")]
    )

    def fail(device: str) -> None:
        raise ValueError("the loss (nan) or a gradient is not finite")

    monkeypatch.setattr(doctor, "training_step", fail)
    checks = doctor.self_test("cpu")
    assert [(check.name, check.status) for check in checks] == [
        ("nms (cpu)", "fault"),
        ("training step (cpu)", "fault"),
    ]
    monkeypatch.setattr(doctor, "self_test", lambda device: checks)
    code, output = run()
    assert code == 1
    assert "[wrong]" in output  # printed as it is, not read as markup
    assert "ValueError: the loss (nan)" in output


def test_training_step_rejects_a_loss_that_is_not_finite(monkeypatch):
    parse_losses = BaseModel.parse_losses
    monkeypatch.setattr(BaseModel, "parse_losses", lambda self, losses: (parse_losses(self, losses)[0] * torch.nan, {}))
    with pytest.raises(ValueError, match=r"the loss \(nan\) or a gradient is not finite"):
        doctor.training_step("cpu")
