"""Detect objects in images with any session that runs a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from brs_detr.runtime.artefact_info import ArtefactInfo
from brs_detr.runtime.calibration import choose_thresholds
from brs_detr.runtime.detections import Detections
from brs_detr.runtime.images import read_pixels
from brs_detr.runtime.processing import detected, prepare, resized_size
from brs_detr.runtime.session import OnnxSession, Outputs, Session

if TYPE_CHECKING:
    from brs_detr.runtime.images import ImageLike

    ImageList = list[ImageLike] | tuple[ImageLike, ...]

Pixels = NDArray[np.uint8]


class Detector:
    """A detector in an exported ONNX file. `brs_detr.Detector` also opens checkpoints and other formats.

    >>> from brs_detr.runtime import Detector
    >>> model = Detector("street.onnx")
    >>> detections = model("street.jpg")

    Args:
        path: ONNX file that `brs-detr export` wrote.
        device: `cpu`, `cuda`, `cuda:1`, ...; default: the GPU if onnxruntime can use one.
        score_threshold: lowest score to keep, in [0, 1]: one number, or a dictionary by class name. Default: the
            file's own threshold (docs/scores.md).
        batch_size: number of images of the same size to run together. A file with a fixed batch size ignores it.

    Raises:
        UserError: the file is missing, damaged or was not written by `brs-detr export`, or there is no such device or
            class.
    """

    def __init__(
        self,
        path: str | Path,
        device: str | None = None,
        score_threshold: float | Mapping[str, float] | None = None,
        batch_size: int = 1,
    ) -> None:
        self._start(OnnxSession(path, device), score_threshold, batch_size)

    @classmethod
    def of(
        cls, session: Session, score_threshold: float | Mapping[str, float] | None = None, batch_size: int = 1
    ) -> Detector:
        """Make a detector whose model runs in `session`."""
        detector = cls.__new__(cls)
        detector._start(session, score_threshold, batch_size)
        return detector

    def _start(self, session: Session, score_threshold: float | Mapping[str, float] | None, batch_size: int) -> None:
        self.session = session
        default = session.info.score_threshold
        self.score_threshold = choose_thresholds(score_threshold, default, session.info.class_names)
        self._batch_size = batch_size

    @property
    def batch_size(self) -> int:
        """Number of images per batch."""
        return self.info.batch_size or self._batch_size

    @batch_size.setter
    def batch_size(self, number: int) -> None:
        self._batch_size = number

    @property
    def info(self) -> ArtefactInfo:
        """The description stored in the file."""
        return self.session.info

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names by label."""
        return self.info.class_names

    @property
    def calibrated(self) -> bool:
        """Whether scores are probabilities."""
        return self.info.calibrated

    @overload
    def __call__(self, image: ImageLike) -> Detections: ...
    @overload
    def __call__(self, image: ImageList) -> list[Detections]: ...

    def __call__(self, image: ImageLike | ImageList) -> Detections | list[Detections]:
        """Detect the objects in an image or in each image of a list.

        Args:
            image: path, PIL image, RGB array uint8 [H, W, 3], or a list of these. Files are rotated according to their
                EXIF data; PIL images and arrays are used as they are.

        Returns:
            The detections of the image, best first; for a list, a list of detections.

        Raises:
            UserError: a file cannot be read as an image.
            ValueError: an array has another type or shape.
        """
        if not isinstance(image, (list, tuple)):
            return self._detect([read_pixels(image)])[0]
        found: list[Detections] = []
        for batch in self._batches(map(read_pixels, image)):
            found += self._detect(batch)
        return found

    def _batches(self, images: Iterable[Pixels]) -> Iterator[list[Pixels]]:
        """Group successive images that have the same size in the model, so that no image gets extra padding."""
        batch: list[Pixels] = []
        for image in images:
            if batch and (len(batch) == self.batch_size or self._size_in_model(image) != self._size_in_model(batch[0])):
                yield batch
                batch = []
            batch.append(image)
        if batch:
            yield batch

    def _size_in_model(self, image: Pixels) -> tuple[int, ...]:
        settings = self.info.preprocessing
        return image.shape if settings.inside else resized_size(image.shape[:2], settings)

    def _detect(self, images: list[Pixels]) -> list[Detections]:
        filled = images + [images[-1]] * ((self.info.batch_size or 1) - len(images))
        if self.info.preprocessing.inside:
            outputs = self.session.run(np.stack(filled), None)
        else:
            prepared = prepare(filled, self.info.preprocessing)
            outputs = self.session.run(prepared.images, prepared.image_sizes)
            outputs = outputs._replace(boxes=outputs.boxes / prepared.scales[:, None])
        by_image = [Outputs(*columns) for columns in zip(*outputs, strict=True)][: len(images)]
        return [
            Detections(*detected(one, self.info.postprocessing), self.class_names).above(self.score_threshold)
            for one in by_image
        ]
