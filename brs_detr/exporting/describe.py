"""Derive the description of an artefact from its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import brs_detr
from brs_detr.checkpoints.checkpoint import Checkpoint
from brs_detr.errors import UserError
from brs_detr.exporting.formats import ExportOptions
from brs_detr.extras import versions_of
from brs_detr.runtime.artefact_info import ArtefactInfo, Postprocessing, Preprocessing

_PACKAGES = ("torch", "torchvision", "mmdet", "onnx", "onnxscript", "onnxruntime")


def describe(
    checkpoint: Checkpoint,
    head: str,
    test_cfg: Mapping[str, Any],
    options: ExportOptions,
    *,
    smallest_side: int = 1,
    has_score_map: bool = False,
) -> ArtefactInfo:
    """Describe the artefact of a head.

    Args:
        checkpoint: the exported checkpoint.
        head: name of the head.
        test_cfg: settings of the head: ``max_per_img`` and, if it suppresses boxes, ``nms`` and ``score_thr``.
        options: what is exported.
        smallest_side: smallest side of an input image, in pixels.
        has_score_map: whether mapping scores to probabilities is left to the runtime.

    Raises:
        UserError: the test pipeline or the suppression does something that an artefact cannot repeat.
    """
    suppression = test_cfg.get("nms") or {}
    if suppression.get("type", "nms") != "nms":
        raise UserError(
            f"The {head} head ends with {suppression['type']}; only plain non-maximum suppression can be exported.",
            "Set its test_cfg nms type to 'nms'.",
        )
    data_preprocessor = checkpoint.config.model.data_preprocessor
    if not data_preprocessor.get("bgr_to_rgb", False):
        raise UserError(f"{checkpoint.path} takes images in BGR.", "Only models of RGB images can be exported.")
    short_side, long_side = sides_in_testing(checkpoint)
    calibration = None if options.raw_scores else checkpoint.calibration(head)
    return ArtefactInfo(
        head=head,
        class_names=checkpoint.class_names,
        score_threshold=checkpoint.thresholds(head, raw_scores=options.raw_scores),
        preprocessing=Preprocessing(
            options.preprocess,
            short_side,
            long_side,
            options.fixed_size,
            mean=tuple(data_preprocessor["mean"]),
            std=tuple(data_preprocessor["std"]),
            smallest_side=smallest_side,
        ),
        postprocessing=Postprocessing(
            options.postprocess,
            max_detections=int(test_cfg["max_per_img"]),
            iou_threshold=suppression.get("iou_threshold"),
            min_score=float(test_cfg.get("score_thr", 0.0)),
            score_map=calibration.score_map if calibration is not None and has_score_map else None,
        ),
        calibrated=calibration is not None,
        precision=options.precision,
        batch_size=options.batch_size,
        source=checkpoint.path.name,
        versions={"brs_detr": brs_detr.__version__, **versions_of(_PACKAGES)},
    )


def sides_in_testing(checkpoint: Checkpoint) -> tuple[int | None, int | None]:
    """Return the bounds of the shorter and the longer side in the test pipeline; None if images keep their size.

    Raises:
        UserError: the pipeline does something that an artefact cannot repeat.
    """
    _, *steps = checkpoint.pipeline
    resizes = [step for step in steps if step["type"] == "Resize"]
    others = [step["type"] for step in steps if step["type"] not in ("Resize", "PackDetInputs", "LoadAnnotations")]
    if others or len(resizes) > 1:
        raise UserError(
            f"The test pipeline of {checkpoint.path} has steps that cannot be exported: "
            f"{', '.join(others) or 'more than one Resize'}.",
            "Export a model whose test pipeline has no other step than Resize.",
        )
    if not resizes or resizes[0].get("scale_factor") == 1.0:
        return None, None
    scale = resizes[0].get("scale")
    if not resizes[0].get("keep_ratio", False) or not isinstance(scale, (tuple, list)):
        raise UserError(
            f"The test pipeline of {checkpoint.path} resizes images without keeping their aspect ratio.",
            "Only Resize with scale=(long, short) and keep_ratio=True can be exported.",
        )
    return min(scale), max(scale)


def size_in_testing(checkpoint: Checkpoint) -> tuple[int, int]:
    """Return the size (h, w) that landscape images are fitted into in testing.

    Raises:
        UserError: images are not resized in testing.
    """
    short_side, long_side = sides_in_testing(checkpoint)
    if short_side is None or long_side is None:
        raise UserError(
            f"The test pipeline of {checkpoint.path} does not resize images, so there is no size to export.",
            "Give the size of the exported model's images: --size HEIGHTxWIDTH.",
        )
    return short_side, long_side
