"""Read a file that PyTorch wrote without running anything that is stored in it."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

from brs_detr.errors import UserError


def load_plain(path: Path) -> Any:
    """What is in a file that PyTorch wrote, if that is tensors and plain values.

    Raises:
        UserError: the file is missing or damaged, or asks for code to be run.
    """
    import torch

    from brs_detr.platform import prepare

    prepare()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle protocol
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"Cannot open the checkpoint {path}: {error.strerror}.", "Check the path.") from None
    except Exception as error:  # PyTorch's reader meets hostile bytes with exceptions of any kind
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    forbidden = re.search(r"GLOBAL (\S+)", str(error))
    if forbidden:
        return UserError(
            f"{path} is refused: to read it, code stored in it would have to run ({forbidden[1]}).",
            "Ask its author for plain weights; a checkpoint from `brs-detr train` needs no code.",
        )
    is_pickle_fault = isinstance(error, pickle.UnpicklingError)  # its text is about PyTorch's options
    reason = (
        "no weights can be read from it." if is_pickle_fault else (str(error).splitlines() or ["it ends early."])[0]
    )
    return UserError(f"{path} is damaged or not a checkpoint: {reason}", "Copy the file again.")
