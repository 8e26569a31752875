"""Results as data: one JSON file a run, which says where it was made.

Imports PyTorch where it is needed: who measures the memory of a process wants it without.
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
    """Type of an option: cpu or a GPU of this machine.

    Raises:
        UserError: there is no such device here, or it is of a kind that is not measured.
    """
    from brs_detr.checkpoints.checkpoint import find_device

    found = find_device(name)
    if found.type not in ("cpu", "cuda"):
        raise UserError(f"Measurements are made on cpu and cuda, not on {name}.")
    return found


def frame_size(text: str) -> tuple[int, int]:
    """Type of an option: (h, w) in pixels."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no size HEIGHTxWIDTH in pixels, as in 480x640")
    return int(match[1]), int(match[2])


def positive(text: str) -> int:
    """Type of an option: an integer of 1 or more."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def run(
    parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace], None], arguments: Sequence[str] | None
) -> None:
    """Parse options and measure; a fault of the user ends with its message and exit code 2."""
    try:
        main(parser.parse_args(arguments))
    except UserError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Device and versions, and how fast the device copies memory."""
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
    """The name that its maker gave to a GPU or a processor."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def default_path(environment: dict[str, Any], what: str) -> Path:
    """Device and version of PyTorch are in the name, so that results of several machines lie side by side."""
    name = re.sub(r"[^a-z0-9]+", "-", environment["device_name"].lower()).strip("-")
    return FOLDER / f"{what}_{name}_torch{environment['torch'].split('+')[0]}.json"


def require_writable(path: Path) -> None:
    """Make the folder of a result and try to write there, before anything takes time.

    Raises:
        UserError: it cannot be written.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file.", "Name the file: --out FILE.json")
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.", "Choose another place with --out.") from error


def write_result(path: Path, environment: dict[str, Any], records: Sequence[dict[str, Any]]) -> None:
    """Write a result; a crash leaves the one before."""
    write_whole(path, json.dumps({"environment": environment, "records": records}, indent=1) + "\n")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], num_texts: int = 0) -> str:
    """A table in Markdown.

    Args:
        head: names of the columns.
        rows: below it.
        num_texts: columns at the left that hold text, the others numbers to align; 0 aligns nothing.
    """
    dashes = [":--"] * num_texts + ["--:" if num_texts else "---"] * (len(head) - num_texts)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, dashes, *rows))


def console_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], num_texts: int, title: str | None = None
) -> Table:
    """The same for a rich console."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for index, name in enumerate(head):
        table.add_column(name, justify="left" if index < num_texts else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
