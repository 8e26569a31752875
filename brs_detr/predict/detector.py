"""Use a trained detector in two lines of Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from brs_detr.checkpoints.checkpoint import build_model, read_checkpoint
from brs_detr.runtime.calibration import choose_thresholds
from brs_detr.runtime.detections import Detection, Detections

if TYPE_CHECKING:
    from PIL import Image

    ImageLike = str | Path | Image.Image | NDArray[np.uint8]
    ImageList = list[ImageLike] | tuple[ImageLike, ...]
    Packed = dict[str, Any]

__all__ = ["Detection", "Detections", "Detector"]


class Detector:
    """A detector with its weights, class names and preprocessing, all from one checkpoint.

    >>> model = Detector("work_dirs/my_run")
    >>> detections = model("street.jpg")

    Args:
        checkpoint: folder of a run of `brs-detr train`, or one of its checkpoints. It is read without running any code
            that is stored in it.
        device: `cpu`, `cuda`, `cuda:1`, ...; by default the GPU if there is one.
        score_threshold: objects with a lower score are left out, in [0, 1]: one for all classes, or by class name; by
            default 0.5 or what `brs-detr calibrate` chose for each class, and of raw scores the one with the best F1 on
            the validation data.
        batch_size: images of a list that run together, where the model sees them in one size.
        trust_file: run the code that the checkpoint asks for.
        raw_scores: leave scores as they were trained. Otherwise they are probabilities, where the checkpoint knows what
            its scores mean (docs/scores.md); `calibrated` says whether they are.

    Raises:
        UserError: the checkpoint is missing or damaged, needs code to be run, or does not fit its config, or there is
            no such class.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        device: str | None = None,
        score_threshold: float | Mapping[str, float] | None = None,
        batch_size: int = 1,
        *,
        trust_file: bool = False,
        raw_scores: bool = False,
    ) -> None:
        from mmcv.transforms import Compose
        from mmengine.registry import TRANSFORMS

        content = read_checkpoint(checkpoint, trust_file)
        default = content.thresholds(raw_scores=raw_scores)
        self.score_threshold = choose_thresholds(score_threshold, default, content.class_names)
        self.model = build_model(content, device, raw_scores=raw_scores)
        self.class_names = content.class_names
        self.calibrated = not raw_scores and content.calibration() is not None
        self.batch_size = batch_size
        load, *prepare = content.pipeline
        self._load = TRANSFORMS.build(load)
        self._prepare = Compose(prepare)

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
            return self._detect([self._packed(image)])[0]
        found: list[Detections] = []
        for batch in self._batches(image):
            found += self._detect(batch)
        return found

    def _batches(self, images: ImageList) -> Iterator[list[Packed]]:
        """Neighbours of one size, so that none is padded: a list gives what its images give one by one."""
        batch: list[Packed] = []
        for packed in map(self._packed, images):
            if batch and (len(batch) == self.batch_size or packed["inputs"].shape != batch[0]["inputs"].shape):
                yield batch
                batch = []
            batch.append(packed)
        if batch:
            yield batch

    def _packed(self, image: ImageLike) -> Packed:
        return self._prepare(self._read(image))  # type: ignore[no-any-return]

    def _detect(self, batch: list[Packed]) -> list[Detections]:
        import torch

        inputs = {name: [packed[name] for packed in batch] for name in ("inputs", "data_samples")}
        with torch.inference_mode():
            samples = self.model.test_step(inputs)  # type: ignore[operator]
        return [self._detections(sample.pred_instances.cpu().numpy()) for sample in samples]

    def _detections(self, found: Any) -> Detections:
        order = np.argsort(-found.scores, kind="stable")
        boxes, scores, labels = found.bboxes[order], found.scores[order], found.labels[order]
        return Detections(boxes, scores, labels, self.class_names).above(self.score_threshold)

    def _read(self, image: ImageLike) -> dict[str, Any]:
        """The start of the pipeline: pixels in BGR, as the file loader gives them."""
        if isinstance(image, (str, Path)):
            return self._load({"img_path": str(image), "img_id": 0})
        pixels = np.asarray(image if isinstance(image, np.ndarray) else image.convert("RGB"))
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"an image is uint8 [H, W, 3] in RGB, not {pixels.dtype} {list(pixels.shape)}")
        size = pixels.shape[:2]
        bgr = np.ascontiguousarray(pixels[..., ::-1])
        return {"img": bgr, "img_path": None, "img_id": 0, "img_shape": size, "ori_shape": size}
