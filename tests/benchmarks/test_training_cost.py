from __future__ import annotations

from pathlib import Path

import pytest
from training_cost import main, make_parser

from measuring.results import run


def test_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cost.json"
    run(make_parser(), main, ["co-deformable-detr_r50_8xb2-12e_coco", "--size", "400x640", "--out", str(out)])
    printed = capsys.readouterr().out
    assert "65.1 M" in printed and "TFLOP" in printed
    assert '"hours_on_8_a100"' in out.read_text()
