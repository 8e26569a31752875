"""`python -m brs_detr.cli`, for launchers such as torchrun."""

from __future__ import annotations

from brs_detr.cli import run

run()
