"""Which checkpoint a training goes on from."""

from __future__ import annotations

import zipfile
from pathlib import Path

from rich.console import Console

from brs_detr.checkpoints.plain_file import load_plain
from brs_detr.checkpoints.stored_config import require_harmless
from brs_detr.errors import UserError
from brs_detr.run.distributed import is_first
from brs_detr.run.run_folder import RunFolder

DAMAGED = ".damaged"


def is_whole(path: Path) -> bool:
    """Whether every byte of a checkpoint is as it was written, by the checksums that PyTorch's format carries."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # Python's reader meets damaged bytes with exceptions of any kind
        return False


def require_resumable(run: RunFolder) -> None:
    """Refuse to go on where nothing is.

    Raises:
        UserError: the folder has neither a last checkpoint nor the one before.
    """
    if not run.can_resume:
        raise UserError(
            f"There is nothing to resume: no {run.last.name} in {run.last.parent}.", "Start without --resume."
        )


def checkpoint_to_resume(run: RunFolder, console: Console, trust_file: bool = False) -> Path:
    """The last checkpoint; where that is damaged, the one before.

    A damaged file is renamed, so that it does not take the place of a good one later.

    Args:
        run: folder of the run.
        console: where to tell.
        trust_file: also where its config names what could run.

    Raises:
        UserError: there is none, both are damaged, or it is refused for what it asks for.
    """
    path = _whole_checkpoint(run, console)
    if not trust_file:
        _require_data(path)
    return path


def _require_data(path: Path) -> None:
    content = load_plain(path, with_values=False)
    meta = content.get("meta") if isinstance(content, dict) else None
    if not isinstance(meta, dict):
        raise UserError(f"{path} is not a checkpoint of a training.", "Start without --resume.")
    require_harmless(meta.get("cfg"), str(path))


def _whole_checkpoint(run: RunFolder, console: Console) -> Path:
    require_resumable(run)
    if is_whole(run.last):
        return run.last
    if not is_whole(run.previous):
        raise UserError(
            f"The checkpoints in {run.last.parent} are damaged.",
            f"{run.best.name} holds weights to start from anew: --set load_from={run.best}"
            if run.best.exists()
            else "Start without --resume.",
        )
    if is_first():
        if run.last.exists():
            run.last.replace(run.last.with_name(run.last.name + DAMAGED))
        console.print(f"{run.last} is damaged; going on from {run.previous.name}, the one before.", markup=False)
    return run.previous
