"""What a checkpoint says of itself besides its weights, checked before anything uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brs_detr.errors import UserError
from brs_detr.runtime.calibration import Calibration

_CURE = "Train with `brs-detr train`, or use it as weights: `brs-detr finetune DATA --weights FILE`."


CALIBRATIONS = "calibrations"
"""Key of a `brs_detr.runtime.calibration.Calibration` for each head that has one, by its name."""


def class_names_of(meta: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Class names from the `meta` of a checkpoint that predicts; the other entries are checked too.

    Args:
        meta: with `cfg`, `dataset_meta` and, if it was measured, `metrics`.
        path: of the checkpoint, for messages.

    Raises:
        UserError: class names or config are missing, or one of the entries is not what it should be.
    """
    dataset_meta = meta.get("dataset_meta") or {}
    names = dataset_meta.get("classes") if isinstance(dataset_meta, dict) else dataset_meta
    if not names or "cfg" not in meta:
        raise UserError(f"{path} holds weights without class names or config.", _CURE)
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} is not a checkpoint of this package: its class names are no list of texts.", _CURE)
    if not isinstance(meta["cfg"], str):
        raise UserError(f"{path} is not a checkpoint of this package: its config is no text.", _CURE)
    metrics = meta.get("metrics") or {}
    if not isinstance(metrics, dict) or not all(isinstance(value, (int, float)) for value in metrics.values()):
        raise UserError(f"{path} is not a checkpoint of this package: its metrics are no numbers.", _CURE)
    _require_calibrations(meta.get(CALIBRATIONS, {}), len(names), path)
    threshold = metrics.get("coco/F1_threshold", 0.0)
    if not 0 <= threshold <= 1:
        raise UserError(f"{path} is not a checkpoint of this package: its threshold is {threshold}.", _CURE)
    return tuple(names)


def _require_calibrations(stored: Any, num_classes: int, path: Path) -> None:
    try:
        if not isinstance(stored, dict):
            raise ValueError("it is no table of heads")
        for calibration in stored.values():
            Calibration.from_json(calibration, num_classes)
    except ValueError as error:
        raise UserError(
            f"{path} is not a checkpoint of this package: what it says of its scores cannot be ({error}).", _CURE
        ) from None
