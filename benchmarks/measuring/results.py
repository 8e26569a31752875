"""Results as data: one JSON file per run, with its environment.

PyTorch is imported only where it is needed, so that it does not count in measurements of process memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from brs_detr.errors import UserError
from brs_detr.files import write_whole

if TYPE_CHECKING:
    import torch

FOLDER = Path("benchmarks/results")


def device(name: str) -> torch.device:
    """Parse a device option: cpu or a GPU of this machine.

    Raises:
        UserError: the device does not exist, or is of another kind.
    """
    from brs_detr.checkpoints.checkpoint import find_device

    found = find_device(name)
    if found.type not in ("cpu", "cuda"):
        raise UserError(f"Measurements support cpu and cuda, not {name}.")
    return found


def frame_size(text: str) -> tuple[int, int]:
    """Parse an option (h, w) in pixels."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size HEIGHTxWIDTH in pixels, such as 480x640")
    return int(match[1]), int(match[2])


def positive(text: str) -> int:
    """Parse an integer option of at least 1."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def run(
    parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace], None], arguments: Sequence[str] | None
) -> None:
    """Parse options and measure; a UserError ends with its message and exit code 2."""
    try:
        main(parser.parse_args(arguments))
    except UserError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Describe device, versions, and the device's speed of copying memory."""
    import torch
    import torchvision

    from measuring.meters import copy_bytes_per_s

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
    """Return the product name of a GPU or a processor."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def random_checkpoint(name: str, folder: Path) -> Path:
    """Write a checkpoint of the model of a config, with random weights."""
    import torch

    from brs_detr.checkpoints.checkpoint import random_model
    from brs_detr.config.config import import_modules, load_config

    config = load_config(name)
    import_modules(config)
    classes = tuple(f"class {label}" for label in range(config.model.query_head.num_classes))
    meta = {"cfg": config.pretty_text, "dataset_meta": {"classes": classes}}
    path = folder / f"{name}.pth"
    torch.save({"state_dict": random_model(config).state_dict(), "meta": meta}, path)
    return path


def default_path(environment: dict[str, Any], what: str) -> Path:
    """Return a path with device and PyTorch version in its name, so that results of machines do not collide."""
    name = re.sub(r"[^a-z0-9]+", "-", environment["device_name"].lower()).strip("-")
    return FOLDER / f"{what}_{name}_torch{environment['torch'].split('+')[0]}.json"


def require_writable(path: Path) -> None:
    """Create the folder of a result and check that it is writable, before any measurement.

    Raises:
        UserError: it is not writable.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file.", "Name the file: --out FILE.json")
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.", "Choose another file with --out.") from error


def write_result(path: Path, environment: dict[str, Any], records: Sequence[dict[str, Any]]) -> None:
    """Write a result atomically; a crash leaves the previous one."""
    write_whole(path, json.dumps({"environment": environment, "records": records}, indent=1) + "\n")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], num_texts: int = 0) -> str:
    """Make a Markdown table.

    Args:
        head: names of the columns.
        rows: cells of each row.
        num_texts: number of left-aligned text columns; the others are right-aligned. 0 aligns nothing.
    """
    dashes = [":--"] * num_texts + ["--:" if num_texts else "---"] * (len(head) - num_texts)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, dashes, *rows))


def console_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], num_texts: int, title: str | None = None
) -> Table:
    """Make a table for a rich console."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for index, name in enumerate(head):
        table.add_column(name, justify="left" if index < num_texts else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
