"""Modules of the user's own, whose classes configs and checkpoints may name."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path

from brs_detr.errors import UserError

_imported: list[str] = []


def own_modules() -> tuple[str, ...]:
    """Return the names of the modules imported by `import_own`, in order."""
    return tuple(_imported)


def import_own(module: str) -> None:
    """Import a module that registers classes with mmdet.

    Args:
        module: dotted name of a module in the current folder or installed, or path of a `.py` file.

    Raises:
        UserError: there is no such module, or it fails.
    """
    from brs_detr.data.loading.registry import register

    register()  # before mmdet, which it repairs
    path = Path(module)
    folder, name = Path.cwd(), module
    if path.suffix == ".py":
        if not path.is_file():
            raise UserError(f"--import {module}: there is no such file.", "Check the path.")
        folder, name = path.resolve().parent, path.stem
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failure(module, error) from error
        raise UserError(
            f"--import {module}: there is no module {name} in {folder} or among the installed packages.",
            "Run the command in the folder of the module, or give the path of its file: --import path/to/module.py",
        ) from None
    except Exception as error:  # it is the user's program, so anything can go wrong in it
        raise _failure(module, error) from error
    if name not in _imported:
        _imported.append(name)


def _failure(module: str, error: Exception) -> UserError:
    frames = traceback.extract_tb(error.__traceback__)
    where = next(
        (
            f" ({frame.filename}, line {frame.lineno})"
            for frame in reversed(frames)
            if "importlib" not in frame.filename
        ),
        "",
    )
    return UserError(f"--import {module} stops with {type(error).__name__}: {error}{where}", "Fix that line.")
