"""Run an exported detector with numpy, Pillow and onnxruntime, without PyTorch.

>>> from brs_detr.runtime import Detector
>>> model = Detector("street.onnx")
>>> detections = model("street.jpg")
"""

from __future__ import annotations

from brs_detr.runtime.detections import Detection, Detections
from brs_detr.runtime.detector import Detector

__all__ = ["Detection", "Detections", "Detector"]
