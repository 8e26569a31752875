"""BRS-DETR: object detectors trained with ranking losses.

>>> from brs_detr import Detector
>>> model = Detector("work_dirs/my_run")
>>> detections = model("street.jpg")

Everything is imported on first use: ``import brs_detr.losses`` needs PyTorch alone, `Detections` does without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brs_detr.predict.detector import Detector
    from brs_detr.runtime.detections import Detections

__version__ = "0.1.0.dev0"
__all__ = ["Detections", "Detector", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Detector":
        from brs_detr.predict.detector import Detector

        return Detector
    if name == "Detections":
        from brs_detr.runtime.detections import Detections

        return Detections
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
