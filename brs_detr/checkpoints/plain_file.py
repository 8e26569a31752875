"""Read and write weights in PyTorch's format and safetensors, without running code that is stored in the files."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import brs_detr
from brs_detr.checkpoints.file_kind import code_in_pickles, file_kind, require_weights
from brs_detr.errors import UserError, shortened
from brs_detr.files import written_whole
from brs_detr.run.console import make_console
from brs_detr.runtime.calibration import Calibration

if TYPE_CHECKING:
    from torch import Tensor

CALIBRATIONS = "calibrations"
"""Key in `meta` of a dictionary with a `brs_detr.runtime.calibration.Calibration` per head."""
METADATA_KEY = "brs_detr"
"""Key in the header of a safetensors file of a checkpoint's metadata, as JSON."""
FORMAT_VERSION = 1

_MAX_HEADER_BYTES = 2**24  # a hundred times what the largest detectors need
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)  # raised for safetensors files
_KEPT = ("epoch", "seed", "brs_detr_version")  # keys of a training's `meta`
_COPY = "Copy the file again."
_RETRAIN = "Train with `brs-detr train`, or use it as weights: `brs-detr finetune DATA --weights FILE`."


def load_plain(path: Path, trust_file: bool = False, *, with_values: bool = True) -> Any:
    """Read tensors and plain values from a PyTorch or safetensors file.

    Args:
        path: the file.
        trust_file: if the file asks for code to be run, print a warning to standard error and run it.
        with_values: read the values of a pickle's tensors; otherwise they have only shape and dtype.

    Returns:
        The content of the file. For safetensors, a dictionary with `state_dict` and `meta`, which is empty if the file
        contains only weights.

    Raises:
        UserError: the file is missing, damaged or of another kind, or asks for code to be run and is not trusted.
    """
    kind = require_weights(path)
    if kind == "safetensors":
        return _read_safetensors(path)
    if kind == "torch":
        _require_unpacked(path)
    try:
        return _load(path, with_values, weights_only=True)
    except OSError as error:
        raise UserError(f"Cannot open {path}: {error.strerror}.", "Check the path.") from None
    except Exception as error:  # PyTorch raises exceptions of any kind for damaged files
        is_unpickling = isinstance(error, pickle.UnpicklingError)
        code = code_in_pickles(path)
        if not code and not (is_unpickling and "Unsupported" in str(error) and kind != "unknown"):
            lines = [] if is_unpickling else str(error).splitlines()  # of unpickling, they are about PyTorch's options
            reason = "no weights can be read from it." if is_unpickling else next(iter(lines), "it ends early.")
            raise UserError(f"{path} is damaged or not a checkpoint: {reason}", _COPY) from None
        if not trust_file:
            reason = "its pickle is of a kind that PyTorch reads only if it may also run code."
            if code:
                reason = f"to read it, code stored in it would have to run ({shortened(code)})."
            raise UserError(
                f"{path} is refused: {reason}",
                "Ask its author for plain weights; a checkpoint from `brs-detr train` needs no code. If you trust its "
                "author as you would trust a program, add --trust-file.",
            ) from None
    return _load_trusted(path, code, with_values)


def _require_unpacked(path: Path) -> None:
    """Refuse a zip that unpacks to more than its own size. PyTorch never compresses, and trusts the sizes in a zip."""
    with zipfile.ZipFile(path) as archive:
        claimed = sum(entry.file_size for entry in archive.infolist())
    size = path.stat().st_size
    if claimed > size:
        raise UserError(
            f"{path} is refused: it has {size} bytes and would unpack to {claimed}; PyTorch writes no such files.",
            "Ask its author for a checkpoint that was saved with torch.save.",
        )


def _load(path: Path, with_values: bool, weights_only: bool) -> Any:
    import torch

    from brs_detr.mm.platform import prepare

    prepare()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols
        return torch.load(path, map_location="cpu" if with_values else "meta", weights_only=weights_only)


def _load_trusted(path: Path, code: list[str], with_values: bool) -> Any:
    make_console(stderr=True).print(
        f"Warning: reading {path} runs code that is stored in it ({shortened(code) or 'names unknown'}), "
        "because of --trust-file. It can do everything that you can."
    )
    try:
        if file_kind(path) == "pickle":  # torch.load would run it, and then fail
            return pickle.loads(path.read_bytes())
        return _load(path, with_values, weights_only=False)
    except Exception as error:  # depends on that code
        raise UserError(
            f"{path} cannot be read, even with the code that it asks for: {type(error).__name__}: {error}",
            "Install the package that the code comes from, or ask its author for plain weights.",
        ) from None


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MAX_HEADER_BYTES:
                raise ValueError(f"its header would have {length} bytes")
            json.loads(file.read(length), object_pairs_hook=_without_duplicates)  # which the library lets pass
        with safe_open(path, framework="pt", device="cpu") as opened:
            described = (opened.metadata() or {}).get(METADATA_KEY)
            tensors = {name: opened.get_tensor(name) for name in list(opened.keys())}
            return {"state_dict": tensors, "meta": {} if described is None else _read_meta(described)}
    except (SafetensorError, *_DAMAGED) as error:
        reason = next(iter(str(error).splitlines()), "it ends early")
        raise UserError(f"{path} is damaged or not a safetensors file: {reason}", _COPY) from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it names {max(names, key=names.count)!r} twice")
    return found


def _read_meta(text: str) -> dict[str, Any]:
    stored = json.loads(text)
    if stored["format_version"] != FORMAT_VERSION:
        raise ValueError(f"it has format {stored['format_version']}, and this version reads format {FORMAT_VERSION}")
    names, config = stored["class_names"], stored["config"]
    if not isinstance(config, str) or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("config and class names must be text")
    return {
        "cfg": config,
        "dataset_meta": {"classes": tuple(names)},
        "metrics": {str(name): float(value) for name, value in stored["metrics"].items()},
        CALIBRATIONS: stored.get(CALIBRATIONS, {}),
        **{name: stored[name] for name in _KEPT if isinstance(stored.get(name), (int, str))},
        "versions": {str(name): str(version) for name, version in stored["versions"].items()},
    }


def write_safetensors(path: Path, state_dict: dict[str, Tensor], meta: dict[str, Any] | None = None) -> None:
    """Write weights, or a whole checkpoint, to a `.safetensors` file, which appears only when it is complete.

    Args:
        path: file to write.
        state_dict: weights by name.
        meta: metadata of a checkpoint: `cfg`, `dataset_meta` and optionally `metrics` and `calibrations`; None for
            weights alone.
    """
    import torch
    from safetensors.torch import save_file

    header = None
    if meta is not None:
        described = {
            "format_version": FORMAT_VERSION,
            "class_names": list(meta["dataset_meta"]["classes"]),
            "config": meta["cfg"],
            "metrics": {name: float(value) for name, value in (meta.get("metrics") or {}).items()},
            CALIBRATIONS: meta.get(CALIBRATIONS, {}),
            **{name: meta[name] for name in _KEPT if isinstance(meta.get(name), (int, str))},
            "versions": {"brs_detr": brs_detr.__version__, "torch": str(torch.__version__)},
        }
        header = {METADATA_KEY: json.dumps(described)}
    # copies, because safetensors refuses two names of the same tensor
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state_dict.items()}
    with written_whole(path) as partial:
        save_file(tensors, partial, header)


def checked_class_names(meta: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Check the metadata of a checkpoint, and return its class names by label.

    Args:
        meta: dictionary with `cfg`, `dataset_meta` and optionally `metrics` and `calibrations`.
        path: path of the checkpoint, for messages.

    Raises:
        UserError: class names or config are missing, or an entry is invalid.
    """
    dataset_meta = meta.get("dataset_meta") or {}
    names = dataset_meta.get("classes") if isinstance(dataset_meta, dict) else dataset_meta
    metrics, calibrations = meta.get("metrics") or {}, meta.get(CALIBRATIONS, {})
    if not names or "cfg" not in meta:
        raise UserError(f"{path} contains weights without class names or config.", _RETRAIN)
    fault = ""
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        fault = "its class names are not a list of text"
    elif not isinstance(meta["cfg"], str):
        fault = "its config is not text"
    elif not isinstance(metrics, dict) or not all(isinstance(value, (int, float)) for value in metrics.values()):
        fault = "its metrics are not numbers"
    elif not 0 <= metrics.get("coco/F1_threshold", 0.0) <= 1:
        fault = f"its threshold is {metrics['coco/F1_threshold']}"
    elif not isinstance(calibrations, dict):
        fault = "its calibrations are not a dictionary by head"
    else:
        try:
            for calibration in calibrations.values():
                Calibration.from_json(calibration, len(names))
        except ValueError as error:
            fault = f"one of its calibrations is invalid ({error})"
    if fault:
        raise UserError(f"{path} is not a checkpoint of this package: {fault}.", _RETRAIN)
    return tuple(names)


def find_tensors(content: Any, path: Path | str) -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Args:
        content: from `load_plain`: a state dict, or a dictionary with one as `state_dict` or `model`.
        path: path of the file, for messages.

    Raises:
        UserError: there are none.
    """
    import torch

    content = content if isinstance(content, dict) else {}
    state = next((content[key] for key in ("state_dict", "model") if isinstance(content.get(key), dict)), content)
    tensors = {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise UserError(f"{path} contains no weights.", "Give a checkpoint, a state dict, or a .safetensors file.")
    return tensors


def find_meta(content: Any) -> dict[str, Any]:
    """Return the `meta` of what `load_plain` gave; empty without one."""
    meta = content.get("meta") if isinstance(content, dict) else None
    return meta if isinstance(meta, dict) else {}
