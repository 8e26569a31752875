"""The notebook of ``docs`` is stored without outputs, and its code runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

NOTEBOOK = json.loads((Path(__file__).parents[2] / "docs" / "finetune.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_it_has_no_outputs() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)


def test_it_trains_and_finds(tmp_path: Path) -> None:
    """Run it with its smallest settings, in a separate process like a kernel."""
    program = "\n\n".join("".join(cell["source"]) for cell in CODE)
    environment = {**os.environ, "BRS_DETR_QUICK": "1"}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert "AP " in result.stdout
    for path in ("run/report.html", "run/checkpoints/best.pth", "found.png"):
        assert (tmp_path / path).stat().st_size > 0, path
