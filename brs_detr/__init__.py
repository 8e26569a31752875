"""BRS-DETR: object detectors trained with ranking losses.

>>> from brs_detr import Detector
>>> model = Detector("work_dirs/my_run")
>>> detections = model("street.jpg")

Everything is imported on first use: ``import brs_detr.losses`` needs PyTorch alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brs_detr.engine.detector import Detections, Detector

__version__ = "0.1.0.dev0"
__all__ = ["Detections", "Detector", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Detections", "Detector"):
        from brs_detr.engine import detector

        return getattr(detector, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
