"""Whatever holds a detector, as something that runs prepared images."""

from __future__ import annotations

from pathlib import Path

from brs_detr.export.formats import FORMATS
from brs_detr.runtime.session import OnnxSession, Session


def open_session(
    path: str | Path, device: str | None = None, num_threads: int | None = None, *, keep_memory: bool = True
) -> tuple[str, Session]:
    """Open an artefact, or a checkpoint as the model it holds.

    Args:
        path: what `brs-detr export` wrote, the folder of a training run, or a checkpoint.
        device: `cpu`, `cuda`, ...; by default the GPU if there is one.
        num_threads: of the CPU; by default as many as the library takes.
        keep_memory: see `brs_detr.runtime.session.OnnxSession`.

    Returns:
        Name of the format, ``pytorch`` for a checkpoint, and the session.

    Raises:
        UserError: the file is missing, damaged or of another kind, or there is no such device.
    """
    path = Path(path)
    name = format_of(path)
    if name == "onnx":
        return name, OnnxSession(path, device, num_threads, keep_memory=keep_memory)
    import torch

    from brs_detr.export.sessions import ModelSession, TorchSession

    if num_threads is not None:
        torch.set_num_threads(num_threads)
    return (name, TorchSession(path, device)) if name else ("pytorch", ModelSession.of_checkpoint(path, device))


def format_of(path: Path) -> str | None:
    """Name of the format of an artefact, by its suffix; None for anything else."""
    fitting = [format for format in FORMATS.values() if path.name.endswith(format.suffix) and not path.is_dir()]
    name = max(fitting, key=lambda format: len(format.suffix)).name if fitting else None
    return None if name == "safetensors" else name
