"""`run.json`: what a training run was started with."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

import brs_detr
from brs_detr.errors import UserError

RECORD = "run.json"


def write_record(
    work_dir: Path, *, config: str, data: str | None, seed: int, amp: bool, overrides: Iterable[str]
) -> None:
    """Write everything needed to repeat a run into its folder, the first process of several only."""
    import torch
    from mmengine.dist import get_world_size, is_main_process

    if not is_main_process():
        return
    record = {
        "config": config,
        "data": data,
        "seed": seed,
        "amp": amp,
        "overrides": list(overrides),
        "num_processes": get_world_size(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"brs_detr": brs_detr.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    (work_dir / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def read_seed(work_dir: Path) -> int:
    """Seed of the run in a folder.

    Raises:
        UserError: there is no readable record in it.
    """
    try:
        return int(json.loads((work_dir / RECORD).read_text(encoding="utf-8"))["seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"Cannot read {work_dir / RECORD} of the run to resume: {error}") from None
