"""BRS-DETR: object detectors trained with ranking losses.

>>> from brs_detr import Detector
>>> model = Detector("work_dirs/my_run")
>>> detections = model("street.jpg")

Names are imported on first use, so ``import brs_detr.losses`` needs only PyTorch, and a `Detector` of an ONNX file not
even that. docs/api.md describes all names.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from brs_detr.data.checks.check import DataReport
    from brs_detr.evaluation.calibrate import calibrate
    from brs_detr.evaluation.evaluate import evaluate
    from brs_detr.exporting.export import export
    from brs_detr.predict.detector import Detector
    from brs_detr.runtime.detections import Detections
    from brs_detr.training.train import finetune, train

__version__ = "0.1.0.dev0"
__all__ = ["Detections", "Detector", "__version__", "calibrate", "check", "evaluate", "export", "finetune", "train"]

_MODULES = {
    "Detector": "brs_detr.predict.detector",
    "Detections": "brs_detr.runtime.detections",
    "train": "brs_detr.training.train",
    "finetune": "brs_detr.training.train",
    "evaluate": "brs_detr.evaluation.evaluate",
    "calibrate": "brs_detr.evaluation.calibrate",
    "export": "brs_detr.exporting.export",
}


def check(data: str | Path, *, resized_to: tuple[int, int] = (1333, 800)) -> DataReport:
    """Find what is wrong with a dataset: annotations, images, boxes, classes and splits. Every image is decoded.

    Args:
        data: dataset in COCO, Pascal VOC or YOLO format.
        resized_to: (long side, short side) in pixels that images are resized to for training. Boxes that become too
            small at this size are reported.

    Returns:
        The findings of each split, and statistics of its images, boxes and classes.

    Raises:
        UserError: there is no such dataset.
    """
    from brs_detr.data.checks.check import check_source
    from brs_detr.data.formats.source import open_source

    return check_source(open_source(data), resized_to=resized_to)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
