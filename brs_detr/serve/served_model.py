"""A detector that works for many clients, one image at a time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from brs_detr.serve.pictures import decode_picture
from brs_detr.serve.uploads import Upload

if TYPE_CHECKING:
    from PIL.Image import Image

    from brs_detr.runtime.detections import Detections

LOWEST_SCORE = 0.0
"""What the detector is asked for; a client's threshold is applied to it."""


class AnyDetector(Protocol):
    """What `brs_detr.Detector` and `brs_detr.runtime.Detector` have in common."""

    score_threshold: float

    @property
    def class_names(self) -> tuple[str, ...]:
        """The place in the tuple is the label."""
        ...

    def __call__(self, image: Image, /) -> Detections:
        """The objects on a picture, best first."""
        ...


class ServedModel:
    """A detector in a thread of its own, so that the server answers while it works.

    Args:
        detector: its ``score_threshold`` is lowered to `LOWEST_SCORE`.
        name: to show.
        threshold: in [0, 1], for clients that name none; by default the detector's own.
    """

    def __init__(self, detector: AnyDetector, name: str, threshold: float | None = None) -> None:
        self.name = name
        self.class_names = tuple(detector.class_names)
        self.threshold = float(detector.score_threshold if threshold is None else threshold)
        info = getattr(detector, "info", None)  # of an exported file
        self.head: str | None = getattr(info, "head", None)
        self.precision: str | None = getattr(info, "precision", None)
        detector.score_threshold = LOWEST_SCORE
        self._detector = detector
        self._thread = ThreadPoolExecutor(1, "detector")

    async def detect(self, upload: Upload, threshold: float, max_pixels: int) -> dict[str, Any]:
        """Decode an upload and find its objects, when the detector's turn comes.

        Returns:
            An entry as of predictions.json: file, width, height, and objects that score at least ``threshold``.

        Raises:
            Refusal: 422 when it cannot be decoded.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._detect, upload, threshold, max_pixels)

    def _detect(self, upload: Upload, threshold: float, max_pixels: int) -> dict[str, Any]:
        picture = decode_picture(upload, max_pixels)
        objects = [
            {"name": found.name, "label": found.label, "score": found.score, "box_xyxy": list(found.box_xyxy)}
            for found in self._detector(picture).above(threshold)
        ]
        return {"file": upload.name, "width": picture.width, "height": picture.height, "objects": objects}
