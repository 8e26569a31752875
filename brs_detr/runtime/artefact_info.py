"""The description stored in an exported detector: how to prepare its inputs, and how to read its outputs.

The inputs of an artefact depend on where preprocessing is done::

    inside    images       uint8   [B, H, W, 3]  RGB, as decoded
    beside    images       float32 [B, 3, H, W]  RGB, resized, normalised, padded at the right and bottom
              image_sizes  int64   [B, 2]        (h, w) of each image without its padding

The outputs are always the same; boxes are (x1, y1, x2, y2) in pixels of the input images::

    boxes   float32 [B, K, 4]
    scores  float32 [B, K]     in [0, 1]; below 0 for unused slots
    labels  int64   [B, K]

With postprocessing inside, these are the detections, best first. With postprocessing beside, they are all candidates
(pairs of a box and a class) in any order, with their scores before the ``score_map`` if there is one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from brs_detr.errors import UserError
from brs_detr.runtime.calibration import Thresholds, read_thresholds
from brs_detr.runtime.score_map import ScoreMap

FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)  # in version 1, scores are never probabilities

METADATA_KEY = "brs_detr"
"""Metadata key of the stored `ArtefactInfo`."""


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded image becomes the model's input: resize, normalise, pad.

    Args:
        inside: whether the artefact does this itself.
        short_side, long_side: largest length of the shorter and the longer side in pixels. The image is resized to the
            largest size within both, keeping its aspect ratio; None keeps the size.
        fixed_size: (h, w) that every image is fitted into and padded to, keeping its aspect ratio; None for any size.
        mean, std: mean and standard deviation of red, green and blue, in 0..255. Padding is 0 after normalisation.
        smallest_side: smallest side of a batch in pixels; smaller batches are padded.
    """

    inside: bool
    short_side: int | None
    long_side: int | None
    fixed_size: tuple[int, int] | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    smallest_side: int = 1


@dataclass(frozen=True)
class Postprocessing:
    """How candidates become detections.

    Args:
        inside: whether the artefact does this itself.
        max_detections: largest number of detections per image, over all classes.
        iou_threshold: IoU with a better box of the same class above which a box is dropped; None drops nothing.
        min_score: candidates at or below this score are dropped before suppression; only with an ``iou_threshold``.
        score_map: map from scores to probabilities that the runtime has to apply; None if there is nothing to do.
    """

    inside: bool
    max_detections: int
    iou_threshold: float | None = None
    min_score: float = 0.0
    score_map: ScoreMap | None = None


@dataclass(frozen=True)
class ArtefactInfo:
    """Everything that is needed to run an artefact.

    Args:
        head: name of the exported head: ``query``, ``roi`` or ``atss``.
        class_names: class names by label.
        score_threshold: default for the lowest score to keep, for all classes or per class.
        preprocessing, postprocessing: what the artefact does itself, and what is left to the runtime.
        calibrated: whether scores are probabilities that a detection is right.
        precision: precision of convolutions and matrix products: ``float32``, ``float16`` or ``bfloat16``.
        batch_size: fixed number of images per batch; None for any number.
        source: name of the checkpoint file.
        versions: versions of the packages that wrote the artefact.
        parity: figures of the comparison with the model.
    """

    head: str
    class_names: tuple[str, ...]
    score_threshold: Thresholds
    preprocessing: Preprocessing
    postprocessing: Postprocessing
    calibrated: bool = False
    precision: str = "float32"
    batch_size: int | None = None
    source: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Serialise to the text that is stored in an artefact."""
        described = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        score_map = self.postprocessing.score_map
        described["postprocessing"]["score_map"] = None if score_map is None else score_map.to_json()
        return json.dumps(described, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, file: object) -> ArtefactInfo:
        """Read the output of `to_json`.

        Args:
            text: the stored text.
            file: file that contains it, for messages.

        Raises:
            UserError: a later version wrote it, or it is damaged or incomplete.
        """
        try:
            stored = json.loads(text)
            version = stored.pop("format_version")
            if version not in READABLE_VERSIONS:
                raise UserError(
                    f"{file} has format {version}, and this version of brs-detr reads formats up to {FORMAT_VERSION}.",
                    "Update brs-detr, or export the checkpoint again.",
                )
            stored["class_names"] = tuple(map(str, stored["class_names"]))
            stored["preprocessing"] = Preprocessing(**_with_tuples(stored["preprocessing"]))
            num_classes = len(stored["class_names"])
            stored["postprocessing"] = _postprocessing(stored["postprocessing"], num_classes)
            stored["score_threshold"] = read_thresholds(stored["score_threshold"], num_classes)
            stored["calibrated"] = bool(stored.get("calibrated", False))
            stored["versions"], stored["parity"] = dict(stored.get("versions", {})), dict(stored.get("parity", {}))
            return cls(**stored)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
            raise UserError(
                f"{file} holds no description that brs-detr can read ({type(error).__name__}: {error}).",
                "Export the checkpoint again with `brs-detr export`.",
            ) from None


def _postprocessing(stored: Mapping[str, Any], num_classes: int) -> Postprocessing:
    settings = Postprocessing(**stored)
    if settings.score_map is None:
        return settings
    score_map = ScoreMap.from_json(stored["score_map"])
    if len(score_map.knots) != num_classes:
        raise ValueError(f"its score map is not for {num_classes} classes")
    return dataclasses.replace(settings, score_map=score_map)


def _with_tuples(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
