"""A detector for every file that contains a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.errors import UserError
from brs_detr.exporting.formats import format_of
from brs_detr.runtime.artefact_info import ArtefactInfo, Postprocessing, Preprocessing
from brs_detr.runtime.calibration import Thresholds
from brs_detr.runtime.detections import Detections
from brs_detr.runtime.detector import Detector as RuntimeDetector
from brs_detr.runtime.session import OnnxSession, Outputs, Session


class Detector(RuntimeDetector):
    """A detector in any file that contains one, with its class names, thresholds and preprocessing.

    >>> from brs_detr import Detector
    >>> model = Detector("work_dirs/my_run")
    >>> detections = model("street.jpg")

    Opening a file runs no code that is stored in it, unless `trust_file` is set. ONNX files need no PyTorch.

    Args:
        path: folder of a training run, a checkpoint (`.pth`, `.safetensors`), or a file that `brs-detr export` wrote
            (ONNX, torch-export, AOTInductor, TorchScript).
        device: `cpu`, `cuda`, `cuda:1`, ...; default: the GPU if there is one.
        score_threshold: lowest score to keep, in [0, 1]: one number, or a dictionary by class name. Default: 0.5, or
            the threshold that `brs-detr calibrate` chose for each class; for raw scores, the threshold with the best
            F1 on the validation split.
        batch_size: number of images of the same size to run together. A file with a fixed batch size ignores it.
        trust_file: run code that a checkpoint asks for.
        raw_scores: return raw scores. By default, scores are probabilities if the file is calibrated, as `calibrated`
            says (docs/scores.md).
        keep_memory: let onnxruntime keep its memory for the next batch; otherwise it is released after each.

    Raises:
        UserError: the file is missing, damaged or of another kind, asks for code to be run, or has no raw scores; or
            there is no such device or class.
    """

    def __init__(
        self,
        path: str | Path,
        device: str | None = None,
        score_threshold: float | Mapping[str, float] | None = None,
        batch_size: int = 1,
        *,
        trust_file: bool = False,
        raw_scores: bool = False,
        keep_memory: bool = True,
    ) -> None:
        path = Path(path)
        if not path.exists():
            raise UserError(f"There is no file or folder {path}.", "Check the path.")
        kind = format_of(path)
        session: Session
        if kind is None:
            session = CheckpointSession(path, device, trust_file=trust_file, raw_scores=raw_scores)
        elif kind == "onnx":
            session = OnnxSession(path, device, keep_memory=keep_memory)
        else:
            from brs_detr.exporting.sessions import TorchSession

            session = TorchSession(path, device)
        if raw_scores and session.info.calibrated:
            raise UserError(
                f"{path} gives probabilities and has no raw scores.",
                "Export its checkpoint again with `brs-detr export CHECKPOINT --raw-scores`.",
            )
        self._start(session, score_threshold, batch_size)

    @property
    def model(self) -> Any:
        """The PyTorch model (`torch.nn.Module`) of a checkpoint; exported files have none."""
        return self.session.model  # type: ignore[attr-defined]


class CheckpointSession:
    """Runs the model of a checkpoint with its own test pipeline, on decoded images.

    Args:
        path: run folder or checkpoint.
        device: default: the GPU if there is one.
        trust_file: run code that the checkpoint asks for.
        raw_scores: return raw scores.
    """

    def __init__(self, path: Path, device: str | None, *, trust_file: bool = False, raw_scores: bool = False) -> None:
        from mmcv.transforms import Compose

        from brs_detr.checkpoints.checkpoint import build_model, read_checkpoint

        content = read_checkpoint(path, trust_file)
        self.info = ArtefactInfo(
            head=content.head,
            class_names=content.class_names,
            score_threshold=content.thresholds(raw_scores=raw_scores),
            preprocessing=Preprocessing(True, None, None, None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
            postprocessing=Postprocessing(True, max_detections=0),
            calibrated=not raw_scores and content.calibration() is not None,
            source=content.path.name,
        )
        self.model = build_model(content, device, raw_scores=raw_scores)
        load, *steps = content.pipeline
        self._dtype = np.float32 if load.get("to_float32") else np.uint8
        self._prepare = Compose(steps)

    def run(self, images: NDArray[Any], image_sizes: NDArray[np.int64] | None) -> Outputs:
        """Run a batch of RGB images uint8 [B, H, W, 3]."""
        import torch

        from brs_detr.exporting.sessions import padded_outputs

        packed = [self._packed(image) for image in images]
        inputs = {name: [one[name] for one in packed] for name in ("inputs", "data_samples")}
        with torch.inference_mode():
            samples = self.model.test_step(inputs)  # type: ignore[operator]
        return padded_outputs(samples, max(len(sample.pred_instances) for sample in samples))

    def _packed(self, image: NDArray[np.uint8]) -> dict[str, Any]:
        """Prepare an image as if the first step of the pipeline had read it, in BGR."""
        size, bgr = image.shape[:2], np.ascontiguousarray(image[..., ::-1], self._dtype)
        results = {"img": bgr, "img_path": None, "img_id": 0, "img_shape": size, "ori_shape": size}
        return self._prepare(results)  # type: ignore[no-any-return]


MERGE_SHARE = 0.5
"""Boxes of a class in two tiles are merged if they share more than this fraction of the smaller one."""


class TiledDetector:
    """Runs a detector on overlapping tiles of an image in full resolution, with supervision's slicer.

    Args:
        detector: the detector to run on each tile.
        tile: side of a tile in pixels.
        overlap: fraction of a tile that its neighbour covers, too, in [0, 1).
    """

    def __init__(self, detector: Any, tile: int, overlap: float) -> None:
        import supervision

        self.class_names: tuple[str, ...] = detector.class_names
        self.score_threshold: Thresholds = detector.score_threshold
        self.calibrated: bool = detector.calibrated
        self._slicer = supervision.InferenceSlicer(
            callback=lambda pixels: detector(np.ascontiguousarray(pixels)).to_supervision(),
            slice_wh=(tile, tile),
            overlap_wh=(round(tile * overlap),) * 2,
            overlap_filter=supervision.OverlapFilter.NON_MAX_MERGE,
            overlap_metric=supervision.OverlapMetric.IOS,
            iou_threshold=MERGE_SHARE,
        )

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Detect the objects in each image, RGB [H, W, 3]."""
        return [self._detect(image) for image in images]

    def _detect(self, image: NDArray[np.uint8]) -> Detections:
        found: Any = self._slicer(image)
        scores = np.asarray(found.confidence if len(found) else [], np.float32)
        order = np.argsort(-scores, kind="stable")
        boxes = np.asarray(found.xyxy, np.float32).reshape(-1, 4)[order]
        labels = np.asarray(found.class_id if len(found) else [], np.int64)[order]
        return Detections(boxes, scores[order], labels, self.class_names)
