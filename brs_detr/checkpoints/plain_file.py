"""Read a file that PyTorch wrote without running anything that is stored in it."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

from brs_detr.checkpoints.file_kind import Kind, file_kind
from brs_detr.checkpoints.pickle_globals import code_in_pickles
from brs_detr.errors import UserError, shortened
from brs_detr.run.console import make_console

_COPY = "Copy the file again."
_OTHER_KINDS: dict[Kind, tuple[str, str]] = {
    "empty": ("it is empty.", _COPY),
    "lfs-pointer": ("it is a pointer of git-lfs, and not what it points to.", "Fetch the file with `git lfs pull`."),
    "html": ("it is a web page.", "Its address led to a page: download the file itself."),
    "json": ("it is a JSON file.", "`brs-detr info` says what is in it."),
    "text": ("it is a text file.", _COPY),
    "damaged-zip": ("it ends early or is damaged inside.", _COPY),
    "zip": ("it is a zip without weights.", "Unpack it, and give the checkpoint that is in it."),
    "npz": ("it holds arrays of NumPy.", "Give a checkpoint of PyTorch, or a .safetensors file."),
    "onnx": ("it is an exported ONNX model.", "Give the checkpoint that it was exported from."),
    "torchscript": ("it is an exported TorchScript program.", "Give the checkpoint that it was exported from."),
    "torch-export": ("it is an exported program.", "Give the checkpoint that it was exported from."),
    "aoti": ("it is a compiled program.", "Give the checkpoint that it was exported from."),
    "safetensors": ("it is a safetensors file.", "Rename it to end in .safetensors."),
}


def load_plain(path: Path, trust_file: bool = False, *, with_values: bool = True) -> Any:
    """What is in a file that PyTorch wrote, if that is tensors and plain values.

    Args:
        path: the file.
        trust_file: where it asks for code to be run, warn on standard error and run it.
        with_values: read the values of tensors; without them tensors have shape and dtype only.

    Raises:
        UserError: the file is missing or damaged, of another kind, or asks for code to be run and is not trusted.
    """
    _require_weights(path)
    try:
        return _load(path, with_values, weights_only=True)
    except OSError as error:
        raise UserError(f"Cannot open the checkpoint {path}: {error.strerror}.", "Check the path.") from None
    except Exception as error:  # PyTorch's reader meets hostile bytes with exceptions of any kind
        if not _asks_for_code(path, error):
            raise _damaged(path, error) from None
        if not trust_file:
            raise _refusal(path) from None
    return _load_trusted(path, with_values)


def _require_weights(path: Path) -> None:
    try:
        kind = file_kind(path)
    except UserError as error:
        raise UserError(error.message.replace("Cannot open", "Cannot open the checkpoint", 1), error.cure) from None
    refuse_other_kinds(path, kind)
    if kind == "torch":
        _require_stored(path)


def refuse_other_kinds(path: Path, kind: Kind) -> None:
    """Raise a UserError for a file that is known to hold no weights in a pickle."""
    if kind in _OTHER_KINDS:
        reason, cure = _OTHER_KINDS[kind]
        raise UserError(f"{path} is damaged or not a checkpoint: {reason}", cure)


def _require_stored(path: Path) -> None:
    """Refuse a zip that unpacks to more than itself: PyTorch packs nothing, and believes what a zip claims."""
    with zipfile.ZipFile(path) as archive:
        claimed = sum(entry.file_size for entry in archive.infolist())
    size = path.stat().st_size
    if claimed > size:
        raise UserError(
            f"{path} is refused: it has {size} bytes and would unpack to {claimed}, which PyTorch never writes.",
            "Ask its author for a checkpoint that was saved with torch.save.",
        )


def _load(path: Path, with_values: bool, weights_only: bool) -> Any:
    import torch

    from brs_detr.mm.platform import prepare

    prepare()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the pickle protocol
        return torch.load(path, map_location="cpu" if with_values else "meta", weights_only=weights_only)


def _asks_for_code(path: Path, error: Exception) -> bool:
    """Whether a file was refused for what it asks for, rather than for its bytes."""
    is_refused = isinstance(error, pickle.UnpicklingError) and "Unsupported" in str(error)
    return bool(code_in_pickles(path)) or (is_refused and file_kind(path) != "unknown")


def _refusal(path: Path) -> UserError:
    names = _names(path)
    reason = (
        f"to read it, code stored in it would have to run ({names})."
        if names
        else "its pickle is of a kind that PyTorch reads only where it may also run code."
    )
    return UserError(
        f"{path} is refused: {reason}",
        "Ask its author for plain weights; a checkpoint from `brs-detr train` needs no code. If you trust its author "
        "as you would trust a program, add --trust-file.",
    )


def _names(path: Path) -> str:
    return shortened(code_in_pickles(path))


def _damaged(path: Path, error: Exception) -> UserError:
    is_pickle_fault = isinstance(error, pickle.UnpicklingError)  # its text is about PyTorch's options
    reason = (
        "no weights can be read from it." if is_pickle_fault else (str(error).splitlines() or ["it ends early."])[0]
    )
    return UserError(f"{path} is damaged or not a checkpoint: {reason}", _COPY)


def _load_trusted(path: Path, with_values: bool) -> Any:
    make_console(stderr=True).print(
        f"Warning: reading {path} runs code that is stored in it ({_names(path) or 'none that can be named'}), "
        "because of --trust-file. "
        "It can do all that you can."
    )
    try:
        if file_kind(path) == "pickle":  # torch.load would run it, and then miss its own marks
            return pickle.loads(path.read_bytes())
        return _load(path, with_values, weights_only=False)
    except Exception as error:  # of that code
        raise UserError(
            f"{path} cannot be read, even with the code that it asks for: {type(error).__name__}: {error}",
            "Install the package that the code comes from, or ask its author for plain weights.",
        ) from None
