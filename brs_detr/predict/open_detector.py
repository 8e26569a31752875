"""A detector from whatever file holds one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from brs_detr.errors import UserError
from brs_detr.export.open_session import format_of, open_session
from brs_detr.runtime.detector import Detector as ExportedDetector

if TYPE_CHECKING:
    from brs_detr.predict.detector import Detector as TrainedDetector


def open_detector(
    path: str | Path,
    device: str | None = None,
    score_threshold: float | Mapping[str, float] | None = None,
    trust_file: bool = False,
    *,
    raw_scores: bool = False,
    keep_memory: bool = True,
) -> ExportedDetector | TrainedDetector:
    """Open an exported detector or a checkpoint. For ONNX no PyTorch is needed.

    Args:
        path: what `brs-detr export` wrote, the folder of a training run, or a checkpoint.
        device: `cpu`, `cuda`, `cuda:1`, ...; by default the GPU if there is one.
        score_threshold: objects with a lower score are left out, in [0, 1]: one for all classes, or by class name; by
            default what the file names.
        trust_file: run the code that a checkpoint asks for.
        raw_scores: as they were trained, not probabilities.
        keep_memory: see `brs_detr.runtime.session.OnnxSession`.

    Raises:
        UserError: the file is missing, damaged or of another kind, there is no such device or class, or raw scores are
            asked of a file that holds probabilities.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"There is no file or folder {path}.", "Check the path.")
    if format_of(path) is not None:
        _, session = open_session(path, device, keep_memory=keep_memory)
        if raw_scores and session.info.calibrated:
            raise UserError(
                f"{path} gives probabilities and holds no raw scores.",
                "Export its checkpoint again with `brs-detr export CHECKPOINT --raw-scores`.",
            )
        return ExportedDetector.of(session, score_threshold)
    from brs_detr.predict.detector import Detector as TrainedDetector

    return TrainedDetector(path, device, score_threshold, trust_file=trust_file, raw_scores=raw_scores)
