"""What an exported detector says of itself: how to feed it, and how to read what it gives.

An artefact has one of two inputs::

    preprocessing inside    images       uint8   [B, H, W, 3]  RGB, as decoded
    preprocessing beside    images       float32 [B, 3, H, W]  RGB, resized, normalised, padded at the right and below
                            image_sizes  int64   [B, 2]        (h, w) of each image without its padding

and one output, boxes being (x1, y1, x2, y2) in pixels of the images that went in::

    boxes   float32 [B, K, 4]
    scores  float32 [B, K]     in [0, 1]; below 0 where there is nothing
    labels  int64   [B, K]

With postprocessing inside these are the detections, best first; with postprocessing beside all pairs of a box and a
class that are candidates, in any order, and where there is a ``score_map``, their scores before it.
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
READABLE_VERSIONS = (1, 2)  # in 1 scores are never probabilities

METADATA_KEY = "brs_detr"
"""Under which an artefact stores the text of its `ArtefactInfo`."""


@dataclass(frozen=True)
class Preprocessing:
    """From a decoded image to the model's input: resize, normalise, pad.

    Args:
        inside: done by the artefact.
        short_side, long_side: the image is resized, its shape kept, until one of its sides reaches its bound in pixels;
            None leaves the size alone.
        fixed_size: (h, w) that every image is resized into, its shape kept, and padded to; None where any size goes.
        mean, std: of red, green and blue, in 0..255. The padding is 0 after the normalisation.
        smallest_side: in pixels; smaller batches are padded to it.
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
    """From candidates to detections.

    Args:
        inside: done by the artefact.
        max_detections: that an image can have, of all classes together; the best are kept.
        iou_threshold: boxes of a class that overlap a better one by more are dropped; None drops nothing.
        min_score: candidates that do not score more are dropped before; only with an ``iou_threshold``.
        score_map: left to do, from the scores of detections to probabilities; None where nothing is.
    """

    inside: bool
    max_detections: int
    iou_threshold: float | None = None
    min_score: float = 0.0
    score_map: ScoreMap | None = None


@dataclass(frozen=True)
class ArtefactInfo:
    """Everything that running an artefact needs besides the artefact.

    Args:
        head: that it holds, ``query``, ``roi`` or ``atss``.
        class_names: the place in the list is the label.
        score_threshold: lowest score to keep by default: one for all classes, or one for each.
        preprocessing, postprocessing: what is inside and what is left to do.
        calibrated: scores are probabilities: the share of such detections that find an object of their class.
        precision: of its large products, ``float32``, ``float16`` or ``bfloat16``.
        batch_size: images that it takes at a time; None for any number.
        source: name of the checkpoint file.
        versions: of what made it, by name.
        parity: figures of the comparison with the model that it was made from.
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
        """The text to store in an artefact."""
        described = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        score_map = self.postprocessing.score_map
        described["postprocessing"]["score_map"] = None if score_map is None else score_map.to_json()
        return json.dumps(described, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, file: object) -> ArtefactInfo:
        """Read what `to_json` wrote.

        Args:
            text: the stored text.
            file: where it was found, for the message.

        Raises:
            UserError: it was written by a later version, or does not say what is needed.
        """
        try:
            stored = json.loads(text)
            version = stored.pop("format_version")
            if version not in READABLE_VERSIONS:
                raise UserError(
                    f"{file} was exported in format {version}, this version of brs-detr reads formats up to "
                    f"{FORMAT_VERSION}.",
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
        raise ValueError(f"its map of scores is not one of {num_classes} classes")
    return dataclasses.replace(settings, score_map=score_map)


def _with_tuples(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
