"""The losses need only PyTorch."""

from __future__ import annotations

import subprocess
import sys

SHOW_MODULES = """
import sys, torch
before = set(sys.modules)
import brs_detr.losses
print(*sorted(set(sys.modules) - before))
"""


def test_importing_the_losses_imports_nothing_else() -> None:
    run = subprocess.run([sys.executable, "-c", SHOW_MODULES], capture_output=True, text=True, check=True)
    strangers = {name.split(".")[0] for name in run.stdout.split()} - set(sys.stdlib_module_names) - {"torch"}
    assert strangers == {"brs_detr"}
    ours = [name for name in run.stdout.split() if name.startswith("brs_detr.")]
    assert all(name.startswith("brs_detr.losses") for name in ours)
