"""Find objects on images, whatever runs the model."""

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
from brs_detr.runtime.postprocess import detected
from brs_detr.runtime.preprocess import prepare, resized_size
from brs_detr.runtime.session import OnnxSession, Outputs, Session

if TYPE_CHECKING:
    from brs_detr.runtime.images import ImageLike

    ImageList = list[ImageLike] | tuple[ImageLike, ...]

Pixels = NDArray[np.uint8]


class Detector:
    """An exported detector; needs numpy, Pillow and onnxruntime.

    >>> from brs_detr.runtime import Detector
    >>> model = Detector("street.onnx")
    >>> detections = model("street.jpg")

    Args:
        path: ONNX file that `brs-detr export` wrote.
        device: `cpu`, `cuda`, `cuda:1`, ...; by default the GPU if onnxruntime can use one.
        score_threshold: objects with a lower score are left out, in [0, 1]: one for all classes, or by class name; by
            default what the file names. docs/scores.md says what scores mean.
        batch_size: images of a list that run together, where they have the same size; a file that takes one number
            only keeps to that.

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
        """A detector on a model that something else runs."""
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
        """Images that run together: what was asked for, unless the file takes one number only."""
        return self.info.batch_size or self._batch_size

    @batch_size.setter
    def batch_size(self, number: int) -> None:
        self._batch_size = number

    @property
    def info(self) -> ArtefactInfo:
        """What the artefact says of itself."""
        return self.session.info

    @property
    def class_names(self) -> tuple[str, ...]:
        """The place in the tuple is the label."""
        return self.info.class_names

    @property
    def calibrated(self) -> bool:
        """Scores are probabilities."""
        return self.info.calibrated

    @overload
    def __call__(self, image: ImageLike) -> Detections: ...
    @overload
    def __call__(self, image: ImageList) -> list[Detections]: ...

    def __call__(self, image: ImageLike | ImageList) -> Detections | list[Detections]:
        """Find the objects on one image, or on each of a list.

        Args:
            image: a path, a PIL image, an RGB array uint8 [H, W, 3], or a list of them. A file is turned upright as its
                EXIF data ask; a PIL image or an array is taken as it is.

        Returns:
            Boxes in pixels of the image, best first; a list of them for a list.

        Raises:
            UserError: a file cannot be read as an image.
            ValueError: an array of another type or shape.
        """
        if not isinstance(image, (list, tuple)):
            return self._detect([read_pixels(image)])[0]
        found: list[Detections] = []
        for batch in self._batches(map(read_pixels, image)):
            found += self._detect(batch)
        return found

    def _batches(self, images: Iterable[Pixels]) -> Iterator[list[Pixels]]:
        """Neighbours that have one size when the model sees them, so that a batch is padded no more than one image."""
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
        return [self._detections(Outputs(*columns)) for columns in zip(*outputs, strict=True)][: len(images)]

    def _detections(self, outputs: Outputs) -> Detections:
        """Those of one image."""
        return Detections(*detected(outputs, self.info.postprocessing), self.class_names).above(self.score_threshold)
