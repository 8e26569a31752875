"""What an artefact will say of itself, from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import brs_detr
from brs_detr.checkpoints.checkpoint import Checkpoint
from brs_detr.errors import UserError
from brs_detr.extras import versions_of
from brs_detr.runtime.artefact_info import ArtefactInfo, Postprocessing, Preprocessing

_PACKAGES = ("torch", "torchvision", "mmdet", "onnx", "onnxscript", "onnxruntime")


def describe(
    checkpoint: Checkpoint,
    head: str,
    settings: Mapping[str, Any],
    *,
    preprocess: bool,
    postprocess: bool,
    precision: str = "float32",
    fixed_size: tuple[int, int] | None = None,
    batch_size: int | None = None,
    smallest_side: int = 1,
    raw_scores: bool = False,
    maps_beside: bool = False,
) -> ArtefactInfo:
    """Describe one head of a checkpoint.

    Args:
        checkpoint: that is exported.
        head: of its model.
        settings: of that head: ``max_per_img`` and, where it suppresses, ``nms`` and ``score_thr``.
        preprocess, postprocess: whether the artefact does it itself.
        precision: of large products.
        fixed_size: (h, w) of its input; None for any.
        batch_size: images that it takes at a time; None for any number.
        smallest_side: of its input, in pixels.
        raw_scores: it gives scores as they were trained, not the probabilities of a calibrated checkpoint.
        maps_beside: what makes them probabilities is left to do.

    Raises:
        UserError: the test pipeline does something that an artefact cannot repeat.
    """
    suppression = settings.get("nms") or {}
    if suppression.get("type", "nms") != "nms":
        raise UserError(
            f"The {head} head ends with {suppression['type']}; only plain non-maximum suppression can be exported.",
            "Set its test_cfg nms type to 'nms'.",
        )
    calibration = None if raw_scores else checkpoint.calibration(head)
    return ArtefactInfo(
        head=head,
        class_names=checkpoint.class_names,
        score_threshold=checkpoint.thresholds(head, raw_scores=raw_scores),
        preprocessing=_preprocessing(checkpoint, preprocess, fixed_size, smallest_side),
        postprocessing=Postprocessing(
            inside=postprocess,
            max_detections=int(settings["max_per_img"]),
            iou_threshold=suppression.get("iou_threshold"),
            min_score=float(settings.get("score_thr", 0.0)),
            score_map=calibration.score_map if calibration is not None and maps_beside else None,
        ),
        calibrated=calibration is not None,
        precision=precision,
        batch_size=batch_size,
        source=checkpoint.path.name,
        versions={"brs_detr": brs_detr.__version__, **versions_of(_PACKAGES)},
    )


def _preprocessing(
    checkpoint: Checkpoint, inside: bool, fixed_size: tuple[int, int] | None, smallest_side: int
) -> Preprocessing:
    short_side, long_side = sides_in_testing(checkpoint)
    settings = checkpoint.config.model.data_preprocessor
    if not settings.get("bgr_to_rgb", False):
        raise UserError(f"{checkpoint.path} takes images in BGR.", "Only models of RGB images can be exported.")
    return Preprocessing(
        inside,
        short_side,
        long_side,
        fixed_size,
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        smallest_side=smallest_side,
    )


def sides_in_testing(checkpoint: Checkpoint) -> tuple[int | None, int | None]:
    """Bounds of the shorter and the longer side, from the test pipeline; None where images keep their size.

    Raises:
        UserError: the pipeline does something that an artefact cannot repeat.
    """
    _, *steps = checkpoint.pipeline
    resizes = [step for step in steps if step["type"] == "Resize"]
    odd = [step["type"] for step in steps if step["type"] not in ("Resize", "PackDetInputs", "LoadAnnotations")]
    if odd or len(resizes) > 1:
        raise UserError(
            f"The test pipeline of {checkpoint.path} has steps that an artefact cannot repeat: "
            f"{', '.join(odd) or 'more than one Resize'}.",
            "Export a model that is tested with Resize alone.",
        )
    if not resizes or resizes[0].get("scale_factor") == 1.0:
        return None, None
    scale = resizes[0].get("scale")
    if not resizes[0].get("keep_ratio", False) or not isinstance(scale, (tuple, list)):
        raise UserError(
            f"The test pipeline of {checkpoint.path} resizes images without keeping their shape.",
            "Only Resize with scale=(long, short) and keep_ratio=True can be exported.",
        )
    return min(scale), max(scale)


def size_in_testing(checkpoint: Checkpoint) -> tuple[int, int]:
    """(h, w) that images of the usual format are fitted into in testing.

    Raises:
        UserError: images are not resized in testing.
    """
    short_side, long_side = sides_in_testing(checkpoint)
    if short_side is None or long_side is None:
        raise UserError(
            f"{checkpoint.path} is tested on images as they are: they have no size of their own.",
            "Give the size of the exported model's images: --size HEIGHTxWIDTH.",
        )
    return short_side, long_side
