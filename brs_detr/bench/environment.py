"""Where a measurement was made."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import torchvision

from brs_detr.bench.measure import copy_bytes_per_s
from brs_detr.errors import UserError


def find_device(name: str) -> torch.device:
    """The device of this name.

    Raises:
        UserError: there is no such device here, or it is of a kind that is not measured.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"There is no device called {name!r}.", "Choose cpu, cuda, cuda:1, ...") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"The losses are measured on cpu and cuda, not on {name}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"This machine has no device {name}.", "Choose cpu, or see `brs-detr doctor`.")
    return device


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Device and versions, and how fast the device copies memory."""
    return {
        "device": device.type,
        "device_name": device_name(device),
        "num_threads": torch.get_num_threads(),
        "copy_bytes_per_s": copy_bytes_per_s(device),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "python": platform.python_version(),
        "system": platform.system(),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def device_name(device: torch.device) -> str:
    """The name that its maker gave to a GPU or a processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
