"""The record `run.json`: how a training run was started, on which machine and data, and how it ended."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import brs_detr
from brs_detr.data.annotations import read_annotations
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.errors import UserError
from brs_detr.extras import versions_of
from brs_detr.files import write_whole
from brs_detr.run.distributed import is_first, peak_memory_mb
from brs_detr.run.run_folder import RunFolder

if TYPE_CHECKING:
    from mmengine import Config

_PACKAGES = ("torch", "torchvision", "mmdet", "mmengine", "mmcv", "mmcv-lite", "timm", "numpy", "pycocotools")


def describe_run(
    *,
    config_name: str,
    config: Config,
    class_names: Sequence[str],
    data: str | None,
    splits: Mapping[str, CocoSplit],
    seed: int,
    amp: bool,
    deterministic: bool,
    overrides: Iterable[str],
) -> dict[str, Any]:
    """Describe a run by plain values that suffice to repeat it.

    Args:
        config_name: name or path of the config, as given by the user.
        config: the resolved config.
        class_names: class names; the index is the label.
        data: dataset folder, as given by the user.
        splits: splits for training and evaluation, by phase.
        seed: seed of all random numbers.
        amp: whether the forward pass runs in bfloat16.
        deterministic: whether sums have a fixed order on a GPU too.
        overrides: the user's `key=value` assignments.
    """
    import torch
    from mmengine.dist import get_world_size

    contents = {phase: (split, read_annotations(split.annotation_file)) for phase, split in splits.items()}
    return {
        "status": "running",
        "command": repeat_command(sys.argv),
        "config": config_name,
        "config_hash": hashlib.sha256(config.pretty_text.encode()).hexdigest(),
        "data": data,
        "data_hash": data_hash(contents),
        "class_names": class_names,
        "splits": {phase: _count(*content) for phase, content in contents.items()},
        "seed": seed,
        "amp": amp,
        "deterministic": deterministic,
        "overrides": list(overrides),
        "num_processes": get_world_size(),
        "num_threads": torch.get_num_threads(),
        **_machine(),
        "versions": _versions(),
        "started": _now(),
    }


def describe_machine() -> dict[str, str]:
    """Return the device, the platform and the versions of the packages."""
    return {**_machine(), **_versions()}


def _machine() -> dict[str, str]:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu"
    return {"device": device, "platform": platform.platform()}


def repeat_command(argv: list[str]) -> str:
    """Return the command line of this process, quoted for a shell."""
    program = Path(argv[0])
    is_module = program.name == "__main__.py"
    return shlex.join(["python", "-m", "brs_detr.cli", *argv[1:]] if is_module else [program.name, *argv[1:]])


def data_hash(contents: Mapping[str, tuple[CocoSplit, Mapping[str, Any]]]) -> str:
    """Hash the annotations, and the names and file sizes of the images, independent of their order and ids.

    The hash changes with any box, class name or image file size. The images are not read.

    Args:
        contents: each split and the content of its annotation file, by phase.
    """
    digest = hashlib.sha256()
    for phase, content in sorted(contents.items()):
        digest.update(f"{phase}\n".encode())
        for line in sorted(_facts(*content)):
            digest.update(line.encode())
    return digest.hexdigest()


def _facts(split: CocoSplit, dataset: Mapping[str, Any]) -> Iterable[str]:
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    files = {image["id"]: image["file_name"] for image in dataset["images"]}
    for name in names.values():
        yield f"class {name}\n"
    for file in files.values():
        path = split.image_dir / file
        yield f"image {file} {path.stat().st_size if path.is_file() else -1}\n"
    for box in dataset["annotations"]:
        crowd = int(box.get("iscrowd") or 0)
        yield f"box {files.get(box['image_id'])} {names.get(box['category_id'])} {box['bbox']} {crowd}\n"


def _count(split: CocoSplit, dataset: Mapping[str, Any]) -> dict[str, Any]:
    counts = {"images": len(dataset["images"]), "boxes": len(dataset["annotations"])}
    return {"annotation_file": str(split.annotation_file), "image_dir": str(split.image_dir), **counts}


def _versions() -> dict[str, str]:
    found = {"brs_detr": brs_detr.__version__, "python": platform.python_version(), **versions_of(_PACKAGES)}
    commit = _commit()
    return {**found, "commit": commit} if commit else found


def _commit() -> str | None:
    """Return the git commit of the checkout that this package runs from, with a plus sign if it has changes."""
    root = Path(brs_detr.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        run = [
            subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, check=True, timeout=10)
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return run[0].stdout.strip() + "+" * bool(run[1].stdout.strip())


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_record(run: RunFolder, record: Mapping[str, Any]) -> None:
    """Write the record of a run. Only the first of several processes writes."""
    if is_first():
        write_whole(run.record, json.dumps(record, indent=2) + "\n")


def end_record(run: RunFolder, record: Mapping[str, Any], status: str, **results: Any) -> None:
    """Add to the record how a run ended: `finished`, `interrupted` or `failed`."""
    ended = _now()
    seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(record["started"])).total_seconds()
    facts = {"status": status, "ended": ended, "seconds": seconds, "peak_memory_mb": round(peak_memory_mb())}
    write_record(run, {**record, **facts, **results})


def read_record(run: RunFolder) -> dict[str, Any]:
    """Read the record of a run.

    Raises:
        UserError: the folder has no readable record.
    """
    try:
        record = json.loads(run.record.read_text(encoding="utf-8"))
        int(record["seed"])
        if not all(isinstance(split, dict) for split in dict(record.get("splits") or {}).values()):
            raise ValueError("'splits' must hold an object for each split")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"Cannot read {run.record}: {error}", "Give the folder of a training run.") from None
    return record
