from __future__ import annotations

from pathlib import Path

import pytest
import torch
from calibrated_checkpoints import STEPS, calibration, write_calibrated
from click.testing import CliRunner

from brs_detr.checkpoints.checkpoint import read_checkpoint
from brs_detr.cli import main
from brs_detr.errors import UserError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cat, dog", ("cat", "dog")),
        ('"cat, dog",ant, "a,b"', ("cat, dog", "ant", "a,b")),
        ('12" pipe,x', ('12" pipe', "x")),
    ],
)
def test_class_names_in_quotation_marks_may_hold_commas(
    text: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, class_names: tuple[str, ...], **__: object) -> None:
        raise UserError(f"names: {class_names!r}")

    monkeypatch.setattr("brs_detr.checkpoints.convert_checkpoint.convert_checkpoint", refuse)
    result = CliRunner().invoke(main, ["convert-checkpoint", "a.pth", "b.safetensors", "--class-names", text])
    assert f"names: {names!r}" in result.stderr


def test_a_run_without_its_pickle(tiny_config: Path, tmp_path: Path) -> None:
    """Weights, calibration and the rest stay as they are."""
    path = write_calibrated(tiny_config, tmp_path / "best.pth", "roi", {"roi": calibration(STEPS)})
    out = tmp_path / "deep" / "m.safetensors"
    call = ["convert-checkpoint", str(path), str(out)]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 0, result.output
    content, written = read_checkpoint(path), read_checkpoint(out)
    assert content.state_dict.keys() == written.state_dict.keys()
    assert all(torch.equal(weight, written.state_dict[name]) for name, weight in content.state_dict.items())
    assert written.meta["calibrations"] == content.meta["calibrations"]
    assert written.thresholds() == content.thresholds()
    assert list(out.parent.iterdir()) == [out]
    refused = CliRunner().invoke(main, call)
    assert refused.exit_code == 2 and "already exists" in refused.stderr
