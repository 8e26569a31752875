"""Compare every stage of an exported file with its model, and reject the file if one differs.

Where scores are close, rounding decides which token, anchor or box a program continues with, and a file on another
processor may decide differently and be equally right. So two programs are never compared after both have made a
selection of their own. For continuous values, the model computes from what the file selected, and the numbers are
compared; a selection of the file is judged by the file's own candidates (`brs_detr.exporting.choices`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from brs_detr.errors import UserError
from brs_detr.exporting.choices import Choice
from brs_detr.exporting.comparison_images import NamedImage
from brs_detr.exporting.sessions import ModelSession, StagedSession
from brs_detr.run.console import track
from brs_detr.runtime.detections import Detections
from brs_detr.runtime.detector import Detector
from brs_detr.runtime.processing import Prepared, best_candidates, prepare
from brs_detr.runtime.session import Outputs

TIMES_OWN_ERROR = 2.0
"""Allowed error of a file, as a multiple of the model's own rounding error."""

LAST_BIT = torch.finfo(torch.float32).eps
"""Error that is always allowed, relative to the largest value of a stage (to 1 for scores)."""

TIMES_FOR_SMALL = 10.0
"""Extra tolerance on small images: norms over few cells magnify rounding, and few values sample it badly."""

BATCHES = (1, 4)
"""Batch sizes to compare with."""

Stage = tuple[Tensor, Tensor]
"""The value in the file, and the expected value."""


class Tolerance(NamedTuple):
    """Largest difference between matching detections: of a coordinate in pixels, and of the score."""

    box: float
    score: float


TOLERANCES = {
    "float32": Tolerance(0.01, 1e-4),
    "float16": Tolerance(2.0, 0.005),
    "bfloat16": Tolerance(8.0, 0.05),
}
"""Tolerances by precision."""

UNRELATED = 1e9  # cost of matching different classes


@dataclass(frozen=True)
class Comparison:
    """How well the detections of an artefact and of its model agree on one or more images.

    Args:
        num_detections: number of the model's detections.
        num_matched: number of pairs within the tolerance.
        num_unmatched: number of detections on either side without a partner.
        max_box_error: largest difference of a coordinate within a pair, in pixels.
        max_score_error: largest difference of the score within a pair.
    """

    num_detections: int = 0
    num_matched: int = 0
    num_unmatched: int = 0
    max_box_error: float = 0.0
    max_score_error: float = 0.0

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            self.num_detections + other.num_detections,
            self.num_matched + other.num_matched,
            self.num_unmatched + other.num_unmatched,
            max(self.max_box_error, other.max_box_error),
            max(self.max_score_error, other.max_score_error),
        )


def compare(reference: Detections, found: Detections, tolerance: Tolerance) -> Comparison:
    """Match detections one to one, at the lowest total difference.

    Args:
        reference: detections of the model, at any score.
        found: detections of the artefact.
        tolerance: largest difference within a pair.
    """
    box_errors = np.abs(reference.boxes_xyxy[:, None] - found.boxes_xyxy[None]).max(-1, initial=0)  # [D, E]
    score_errors = np.abs(reference.scores[:, None] - found.scores[None])
    is_related = reference.labels[:, None] == found.labels[None]
    cost = np.where(is_related, np.minimum(box_errors / tolerance.box + score_errors / tolerance.score, 1e6), UNRELATED)
    rows, columns = linear_sum_assignment(cost)
    errors = box_errors[rows, columns], score_errors[rows, columns]
    is_matched = is_related[rows, columns] & (errors[0] <= tolerance.box) & (errors[1] <= tolerance.score)
    num_matched = int(is_matched.sum())
    return Comparison(
        num_detections=len(reference),
        num_matched=num_matched,
        num_unmatched=len(reference) + len(found) - 2 * num_matched,
        max_box_error=float(errors[0][is_matched].max(initial=0)),
        max_score_error=float(errors[1][is_matched].max(initial=0)),
    )


@dataclass(frozen=True)
class StageError:
    """Root mean square difference of a stage from the model in float64, for an image in a batch.

    Args:
        stage: name of the stage.
        image: name of the image.
        batch_size: number of copies of the image in the batch.
        file: error of the file.
        model: error of the model in the file's precision, given the file's selections.
        scale: largest absolute value.
        is_finite: whether the file has infinite values only where the model has.
        is_small: whether the image is small.
    """

    stage: str
    image: str
    batch_size: int
    file: float
    model: float
    scale: float
    is_finite: bool = True
    is_small: bool = False


@dataclass(frozen=True)
class Parity:
    """Result of a comparison.

    Args:
        agreement: agreement of the detections; only reported, because rounding may change detections.
        errors: errors of every stage, image and batch.
        wrong_choices: descriptions of wrong selections in the file.
        num_choices: number of selections that were checked.
        ap: AP of the model and of the file; None without a dataset.
    """

    agreement: Comparison = Comparison()
    errors: tuple[StageError, ...] = ()
    wrong_choices: tuple[str, ...] = ()
    num_choices: int = 0
    ap: tuple[float, float] | None = None

    def __add__(self, other: Parity) -> Parity:
        return Parity(
            self.agreement + other.agreement,
            self.errors + other.errors,
            self.wrong_choices + other.wrong_choices,
            self.num_choices + other.num_choices,
        )

    def bounds(self) -> dict[tuple[str, bool], float]:
        """Return the allowed error of each stage, separately on small images (True), where it is larger."""
        bounds: dict[tuple[str, bool], float] = {}
        for error in self.errors:
            scale = max(error.scale, 1.0) if error.stage.endswith("scores") else error.scale
            bound = max(TIMES_OWN_ERROR * error.model, LAST_BIT * scale)
            for is_small in {error.is_small, True}:
                key, times = (error.stage, is_small), TIMES_FOR_SMALL if is_small else 1.0
                bounds[key] = max(bounds.get(key, 0.0), times * bound)
        return bounds

    def shares(self) -> dict[str, float]:
        """Return the largest error of each stage relative to its bound."""
        bounds, shares = self.bounds(), dict[str, float]()
        for error in self.errors:
            share = error.file / bound if (bound := bounds[error.stage, error.is_small]) else error.file
            shares[error.stage] = max(shares.get(error.stage, 0.0), share)
        return shares

    def failures(self) -> list[str]:
        """Describe the first error of each stage that exceeds its bound, and all wrong selections."""
        bounds = self.bounds()
        failed: dict[str, str] = {}
        for error in self.errors:
            where = f"{error.stage} on {error.image}, batch of {error.batch_size}"
            if not error.is_finite:
                failed.setdefault(error.stage, f"{where}: not finite where the model is, or the other way round")
            elif not error.file <= (bound := bounds[error.stage, error.is_small]):
                what = f"{where}: {error.file:.1e} from exact arithmetic, where {bound:.1e} is allowed"
                failed.setdefault(error.stage, what)
        return [*failed.values(), *self.wrong_choices]

    def summary(self) -> dict[str, Any]:
        """Return the figures that are stored in the file."""
        figures: dict[str, Any] = {
            "pictures": len({error.image for error in self.errors}),
            "stages": len({error.stage for error in self.errors}),
            "choices": self.num_choices,
            "largest_share_of_bound": max(self.shares().values(), default=0.0),
            "detections": self.agreement.num_detections,
            "matched": self.agreement.num_matched,
            "unmatched": self.agreement.num_unmatched,
            "max_box_error_px": self.agreement.max_box_error,
            "max_score_error": self.agreement.max_score_error,
        }
        return figures if self.ap is None else {**figures, "AP_model": self.ap[0], "AP_artefact": self.ap[1]}


def require_parity(
    model: ModelSession,
    exact: ModelSession,
    artefact: StagedSession,
    images: Sequence[NamedImage],
    *,
    measure_ap: Callable[[Detector], float] | None = None,
    batches: Sequence[int] = BATCHES,
    console: Console,
) -> Parity:
    """Compare the stages of an artefact with those of its model.

    Two programs with the same weights agree only up to rounding. So the distance of a stage from the model in float64
    may be `TIMES_OWN_ERROR` times the largest that the model has in the artefact's precision on any image, and on small
    images `TIMES_FOR_SMALL` times that.

    Args:
        model: the exported model, in the artefact's precision.
        exact: the same in float64.
        artefact: the exported file.
        images: images to compare on, alone and, if the artefact takes batches of any size, in batches.
        measure_ap: returns the AP of a detector on a dataset; only reported.
        batches: batch sizes for an artefact that takes any.
        console: shows progress.

    Raises:
        UserError: a stage differs; the message names it and the difference.
    """
    judge, parity = _Judge(model, exact, artefact), Parity()
    for image in track(images, "comparing", console):
        for batch_size in (artefact.info.batch_size,) if artefact.info.batch_size else batches:
            parity += judge.judge(image, batch_size)
    if measure_ap is not None:
        parity = replace(parity, ap=(measure_ap(Detector.of(model)), measure_ap(Detector.of(artefact))))
    failures = parity.failures()
    if failures:
        more = f" ({len(failures) - 3} more)" if len(failures) > 3 else ""
        raise UserError(
            f"The artefact does not compute what the model computes, and was deleted. {'; '.join(failures[:3])}{more}.",
            "Export in float32, or report this with the output of `brs-detr doctor`.",
        )
    return parity


@dataclass(frozen=True)
class _Judge:
    """Runs an artefact on images and compares it with its model."""

    model: ModelSession
    exact: ModelSession
    artefact: StagedSession

    @torch.inference_mode()
    def judge(self, image: NamedImage, batch_size: int) -> Parity:
        """Compare on a batch of copies of an image."""
        where = f"{image.name}, batch of {batch_size}"
        batch, settings = [image.pixels] * batch_size, self.artefact.info.preprocessing
        inputs = (np.stack(batch), None) if settings.inside else prepare(batch, settings)[:2]
        outputs = self._run(inputs, where)
        prepared = prepare(batch[:1], self.model.info.preprocessing)
        found = {name: torch.from_numpy(output) for name, output in outputs.items()}
        if not self.artefact.info.postprocessing.inside:
            found["detections"] = self._best(found)
        # the model runs in the same batch size, because libraries choose kernels by it, and kernels round differently
        rounded = self.model.expected_stages(prepared, batch_size).of(found)
        exact = self.exact.expected_stages(prepared, 1).of(found)
        expected = Detector.of(self.model, score_threshold=0)(image.pixels)
        judged = Parity()
        for index, (own, true) in enumerate(zip(rounded, exact, strict=True)):
            one = {name: output[index] for name, output in found.items()}
            detected = self._detected(one, true.choices[-1], prepared, self.exact)
            values: dict[str, Stage] = {}
            if "prepared" in one:
                values["prepared"] = one["prepared"], torch.from_numpy(prepared.images[0])
            values |= {**true.values, **detected}
            own_values = {**own.values, **self._detected(one, own.choices[-1], prepared, self.model)}
            errors = tuple(
                stage_error(stage, image, batch_size, value, own_values.get(stage, (value, exactly))[1], exactly)
                for stage, (value, exactly) in values.items()
            )
            faults = ((choice.name, choice.fault()) for choice in true.choices)
            wrong = tuple(f"{name} on {where}: {fault}" for name, fault in faults if fault)
            boxes, scores, labels = (detected[name][0].numpy() for name in Outputs._fields)
            boxes = boxes if settings.inside else (boxes / prepared.scales).astype(np.float32)
            score_map = self.artefact.info.postprocessing.score_map
            scores = scores if score_map is None else score_map(scores, labels).astype(np.float32)
            detections = Detections(boxes, scores, labels, self.artefact.info.class_names)
            agreement = compare(expected, detections, TOLERANCES[self.artefact.info.precision])
            judged += Parity(agreement, errors, wrong, len(true.choices))
        return judged

    def _run(self, inputs: tuple[NDArray[Any], NDArray[np.int64] | None], where: str) -> dict[str, NDArray[Any]]:
        try:
            return self.artefact.run_all(*inputs)
        except Exception as error:  # each library raises its own exceptions
            *_, last_line = ["", *str(error).strip().splitlines()]
            raise UserError(
                f"The artefact fails on {where}, and was deleted: {type(error).__name__}: {last_line}",
                "Report this with the output of `brs-detr doctor`.",
            ) from error

    def _best(self, found: Mapping[str, Tensor]) -> Tensor:
        """Select the detections ``[B, K]`` of a file that leaves this to the runtime."""
        settings = self.artefact.info.postprocessing
        chosen = np.full((len(found["scores"]), settings.max_detections), -1)
        for row, *candidates in zip(chosen, *(found[name].numpy() for name in Outputs._fields), strict=True):
            best = best_candidates(candidates[0], candidates[1], candidates[2], settings)
            row[: len(best)] = best
        return torch.from_numpy(chosen)

    def _detected(
        self, found: Mapping[str, Tensor], final: Choice, prepared: Prepared, model: ModelSession
    ) -> dict[str, Stage]:
        """Return the file's detections, and what they must be according to its own candidates."""
        assert final.boxes is not None and final.labels is not None
        rows = final.chosen[final.chosen >= 0]
        boxes, scores, labels = final.boxes[rows], final.scores[rows], final.labels[rows]
        if self.artefact.info.postprocessing.inside:
            rows, scores = (found["scores"] >= 0).nonzero()[:, 0], model.mapped(scores, labels)
        if self.artefact.info.preprocessing.inside:
            boxes = boxes / torch.from_numpy(prepared.scales)
        expected = {"boxes": boxes, "scores": scores, "labels": labels}
        return {name: (found[name][rows], value) for name, value in expected.items()}


def stage_error(
    stage: str, image: NamedImage, batch_size: int, value: Tensor, rounded: Tensor, exact: Tensor
) -> StageError:
    """Measure the errors of a stage in the file and in the rounded model against float64."""
    if value.shape != exact.shape:
        return StageError(stage, image.name, batch_size, math.nan, 0.0, 0.0, is_small=image.is_small)
    value, rounded, exact = (tensor.double() for tensor in (value, rounded, exact))
    is_finite = torch.isfinite(exact)
    return StageError(
        stage,
        image.name,
        batch_size,
        file=_root_mean_square((value - exact)[is_finite]),
        model=_root_mean_square((rounded - exact)[is_finite]),
        scale=exact[is_finite].abs().amax().item() if is_finite.any() else 0.0,
        is_finite=torch.equal(value[~is_finite], exact[~is_finite]),
        is_small=image.is_small,
    )


def _root_mean_square(values: Tensor) -> float:
    return values.square().mean().sqrt().item() if len(values) else 0.0
