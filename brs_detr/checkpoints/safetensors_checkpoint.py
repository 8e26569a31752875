"""A checkpoint without a pickle: tensors, and the rest as JSON in the header."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import brs_detr
from brs_detr.checkpoints.checkpoint_meta import CALIBRATIONS
from brs_detr.checkpoints.file_kind import file_kind
from brs_detr.checkpoints.plain_file import refuse_other_kinds
from brs_detr.errors import UserError

FORMAT_VERSION = 1
MOST_HEADER_BYTES = 2**24  # the largest detectors need a hundredth
METADATA_KEY = "brs_detr"

# Of a file that is not what it claims to be.
_FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
_KEPT = ("epoch", "seed", "brs_detr_version")  # of what training tells


def write_safetensors(path: Path, state_dict: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write weights, class names, config and metrics; the file is whole or not there.

    Args:
        path: file to write.
        state_dict: weights by name.
        meta: of a checkpoint: `cfg`, `dataset_meta` and, if they were measured, `metrics` and `calibrations`.
    """
    described = {
        "format_version": FORMAT_VERSION,
        "class_names": list(meta["dataset_meta"]["classes"]),
        "config": meta["cfg"],
        "metrics": {name: float(value) for name, value in (meta.get("metrics") or {}).items()},
        CALIBRATIONS: meta.get(CALIBRATIONS, {}),
        **{name: meta[name] for name in _KEPT if isinstance(meta.get(name), (int, str))},
        "versions": {"brs_detr": brs_detr.__version__, "torch": str(torch.__version__)},
    }
    write_tensors(path, state_dict, {METADATA_KEY: json.dumps(described)})


def write_tensors(path: Path, state_dict: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors and texts; the file is whole or not there."""
    from safetensors.torch import save_file

    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # Copies: two names of one tensor, which safetensors refuses, are stored twice.
        tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state_dict.items()}
        save_file(tensors, partial, metadata)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_safetensors(path: Path) -> dict[str, Any]:
    """What `write_safetensors` wrote, as mmengine's checkpoints have it: `state_dict` and `meta`.

    Raises:
        UserError: the file is missing, damaged, or holds weights alone.
    """
    content = read_any_safetensors(path)
    if not content["meta"]:
        raise UserError(
            f"{path} holds weights without class names or config.",
            "Start a training from them: `brs-detr finetune DATA --weights FILE`.",
        )
    return content


def read_any_safetensors(path: Path) -> dict[str, Any]:
    """The same of a file of any origin; `meta` is empty where it holds weights alone.

    Raises:
        UserError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    _require_safetensors(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            described = (file.metadata() or {}).get(METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
            return {"state_dict": tensors, "meta": {} if described is None else _meta(described)}
    except (SafetensorError, *_FAULTS) as error:
        raise _damaged(path, error) from None


def read_header(path: Path) -> tuple[dict[str, tuple[tuple[int, ...], str]], dict[str, Any] | None]:
    """Shape and dtype of each tensor, and what `meta` says; None where the file holds weights alone. Reads no values.

    Raises:
        UserError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    _require_safetensors(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            slices = {name: file.get_slice(name) for name in list(file.keys())}
            described = (file.metadata() or {}).get(METADATA_KEY)
            tensors = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
            return tensors, None if described is None else _meta(described)
    except (SafetensorError, *_FAULTS) as error:
        raise _damaged(path, error) from None


def _require_safetensors(path: Path) -> None:
    """Refuse a file of another kind, and one that names a tensor twice, which the library lets pass."""
    try:
        kind = file_kind(path)
    except UserError as error:
        raise UserError(error.message.replace("Cannot open", "Cannot open the checkpoint", 1), error.cure) from None
    if kind != "safetensors":
        refuse_other_kinds(path, kind)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MOST_HEADER_BYTES:
                raise ValueError(f"its header would have {length} bytes")
            json.loads(file.read(length), object_pairs_hook=_without_duplicates)
    except _FAULTS as error:
        raise _damaged(path, error) from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it names {max(names, key=names.count)!r} twice")
    return found


def _damaged(path: Path, error: Exception) -> UserError:
    reason = (str(error).splitlines() or ["it ends early"])[0]
    return UserError(f"{path} is damaged or not a safetensors file: {reason}", "Copy the file again.")


def _meta(text: str) -> dict[str, Any]:
    stored = json.loads(text)
    if stored["format_version"] != FORMAT_VERSION:
        raise ValueError(f"it is of format {stored['format_version']}, this version reads {FORMAT_VERSION}")
    names, config = stored["class_names"], stored["config"]
    if not isinstance(config, str) or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("config and class names must be text")
    metrics = {str(name): float(value) for name, value in stored["metrics"].items()}
    return {
        "cfg": config,
        "dataset_meta": {"classes": tuple(names)},
        "metrics": metrics,
        CALIBRATIONS: stored.get(CALIBRATIONS, {}),
        **{name: stored[name] for name in _KEPT if isinstance(stored.get(name), (int, str))},
        "versions": {str(name): str(version) for name, version in stored["versions"].items()},
    }
