"""A checkpoint without a pickle: tensors, and the rest as JSON in the header."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import brs_detr
from brs_detr.errors import UserError

FORMAT_VERSION = 1
METADATA_KEY = "brs_detr"


def write_safetensors(path: Path, state_dict: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write weights, class names, config and metrics; the file is whole or not there.

    Args:
        path: file to write.
        state_dict: weights by name.
        meta: of a checkpoint: `cfg`, `dataset_meta` and, if it was measured, `metrics`.
    """
    from safetensors.torch import save_file

    described = {
        "format_version": FORMAT_VERSION,
        "class_names": list(meta["dataset_meta"]["classes"]),
        "config": meta["cfg"],
        "metrics": {name: float(value) for name, value in (meta.get("metrics") or {}).items()},
        "versions": {"brs_detr": brs_detr.__version__, "torch": str(torch.__version__)},
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # Copies: two names of one tensor, which safetensors refuses, are stored twice.
        tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state_dict.items()}
        save_file(tensors, partial, {METADATA_KEY: json.dumps(described)})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_safetensors(path: Path) -> dict[str, Any]:
    """What `write_safetensors` wrote, as mmengine's checkpoints have it: `state_dict` and `meta`.

    Raises:
        UserError: the file is missing, damaged, or holds weights alone.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"Cannot open the checkpoint {path}: No such file or directory.", "Check the path.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            described = (file.metadata() or {}).get(METADATA_KEY)
            if described is None:
                raise UserError(
                    f"{path} holds weights without class names or config.",
                    "Start a training from them: `brs-detr finetune DATA --weights FILE`.",
                )
            names = list(file.keys())
            return {"state_dict": {name: file.get_tensor(name) for name in names}, "meta": _meta(described)}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or ["it ends early"])[0]
        raise UserError(f"{path} is damaged or not a checkpoint: {reason}", "Copy the file again.") from None


def read_header(path: Path) -> tuple[dict[str, tuple[tuple[int, ...], str]], dict[str, Any] | None]:
    """Shape and dtype of each tensor, and what `meta` says; None where the file holds weights alone. Reads no values.

    Raises:
        UserError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            slices = {name: file.get_slice(name) for name in list(file.keys())}
            described = (file.metadata() or {}).get(METADATA_KEY)
            tensors = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
            return tensors, None if described is None else _meta(described)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or ["it ends early"])[0]
        raise UserError(f"{path} is damaged or not a checkpoint: {reason}", "Copy the file again.") from None


def _meta(text: str) -> dict[str, Any]:
    stored = json.loads(text)
    if stored["format_version"] != FORMAT_VERSION:
        raise ValueError(f"it is of format {stored['format_version']}, this version reads {FORMAT_VERSION}")
    names, config = stored["class_names"], stored["config"]
    if not isinstance(config, str) or not all(isinstance(name, str) for name in names):
        raise ValueError("config and class names must be text")
    metrics = {str(name): float(value) for name, value in stored["metrics"].items()}
    return {
        "cfg": config,
        "dataset_meta": {"classes": tuple(names)},
        "metrics": metrics,
        "versions": stored["versions"],
    }
