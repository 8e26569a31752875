"""The gate of an export: every stage of the file is that of the model, or there is no file.

Where scores are close, rounding decides which token, anchor or box a program goes on with, and a file on another
processor may decide otherwise than the model and be as right. So nothing is compared that comes after a decision of
two programs. What is continuous is computed by the model from what the file chose, and compared number by number; what
the file chose is judged by its own candidates (`brs_detr.exporting.choices`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
"""How far from exact arithmetic a file may be, in terms of how far the model itself is."""

LAST_BIT = torch.finfo(torch.float32).eps
"""How far, in terms of the largest value of a stage (of 1, for scores), it may be in any case."""

TIMES_FOR_SMALL = 10.0
"""How much farther on a small image: norms over few cells magnify rounding, and few numbers sample it badly."""

BATCHES = (1, 4)
"""Sizes of the batches that are compared."""

Stage = tuple[Tensor, Tensor]
"""What a file gave, and what it must be."""


class Tolerance(NamedTuple):
    """How far two detections that agree may differ: in a coordinate, in pixels, and in their score."""

    box: float
    score: float


TOLERANCES = {
    "float32": Tolerance(0.01, 1e-4),
    "float16": Tolerance(2.0, 0.005),
    "bfloat16": Tolerance(8.0, 0.05),
}
"""By the precision of large products."""

UNRELATED = 1e9  # cost of a pair of different classes


@dataclass(frozen=True)
class Comparison:
    """The detections of an artefact beside those of the model, on one image or several.

    Args:
        num_detections: of the model.
        num_matched: pairs within the tolerance.
        num_unmatched: other detections, of either side, without a partner.
        max_box_error: of the matched pairs, in pixels.
        max_score_error: of the matched pairs.
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
    """Pair the detections of two sides one to one, so that pairs are as close as they can be.

    Args:
        reference: what the model finds, of any score.
        found: what the artefact finds.
        tolerance: what a pair may differ by.
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


class Kind(NamedTuple):
    """A stage on usual images, or on small ones."""

    stage: str
    is_small: bool


@dataclass(frozen=True)
class StageError:
    """How far a stage is from the same in float64: root mean squares, on one image of a batch.

    Args:
        stage: its name.
        image: name of the image.
        batch_size: copies of it that ran together.
        file: distance of the file.
        model: distance of the model in its own precision, from the same choices.
        scale: largest absolute value.
        is_finite: the file is infinite where the model is, and nowhere else.
        is_small: the image is a small one.
    """

    stage: str
    image: str
    batch_size: int
    file: float
    model: float
    scale: float
    is_finite: bool = True
    is_small: bool = False

    @property
    def kind(self) -> Kind:
        """What has a bound of its own."""
        return Kind(self.stage, self.is_small)


@dataclass(frozen=True)
class Parity:
    """What a comparison came to.

    Args:
        agreement: of the detections with the model's own: for information, since rounding may change them.
        errors: of every stage, image and batch.
        wrong_choices: what the file chose and should not have chosen, in words.
        num_choices: that were judged.
        ap: of the model and of the file on a data set; None where none was given.
    """

    agreement: Comparison
    errors: tuple[StageError, ...] = ()
    wrong_choices: tuple[str, ...] = ()
    num_choices: int = 0
    ap: tuple[float, float] | None = None

    def bounds(self) -> dict[Kind, float]:
        """How far from exact arithmetic each stage may be; what is allowed on small images is not on others."""
        bounds: dict[Kind, float] = {}
        for error in self.errors:
            scale = max(error.scale, 1.0) if error.stage.endswith("scores") else error.scale
            bound = max(TIMES_OWN_ERROR * error.model, LAST_BIT * scale)
            for kind in {error.kind, Kind(error.stage, is_small=True)}:
                times = TIMES_FOR_SMALL if kind.is_small else 1.0
                bounds[kind] = max(bounds.get(kind, 0.0), times * bound)
        return bounds

    def shares(self) -> dict[str, float]:
        """How much of its bound each stage takes, where it takes most."""
        bounds, shares = self.bounds(), dict[str, float]()
        for error in self.errors:
            share = error.file / bound if (bound := bounds[error.kind]) else error.file
            shares[error.stage] = max(shares.get(error.stage, 0.0), share)
        return shares

    def failures(self) -> list[str]:
        """What is beyond the bounds, in words, first things first."""
        bounds = self.bounds()
        failed: dict[str, str] = {}
        for error in self.errors:
            where = f"{error.stage} on {error.image}, batch of {error.batch_size}"
            if not error.is_finite:
                failed.setdefault(error.stage, f"{where}: not finite where the model is, or the other way round")
            elif not error.file <= bounds[error.kind]:
                what = f"{where}: {error.file:.1e} from exact arithmetic, where {bounds[error.kind]:.1e} is allowed"
                failed.setdefault(error.stage, what)
        return [*failed.values(), *self.wrong_choices]

    def summary(self) -> dict[str, Any]:
        """The figures, for the file's description."""
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

    Two programs with the same weights can be no closer to each other than each is to exact arithmetic. So a stage of
    the artefact may be `TIMES_OWN_ERROR` times as far from the model in float64 as the model in its own precision is on
    any of the images; on small ones, `TIMES_FOR_SMALL` times that.

    Args:
        model: that the artefact was made from, in the artefact's precision.
        exact: the same in float64.
        artefact: to be shown to be the same.
        images: to compare on, each by itself and, where the artefact takes any number, in batches.
        measure_ap: AP of a detector on a data set: for information.
        batches: sizes of the batches, of an artefact that takes any.
        console: where progress is shown.

    Raises:
        UserError: they differ; names the stage and by how much.
    """
    judge = _Judge(model, exact, artefact)
    for image in track(images, "comparing", console):
        for batch_size in (artefact.info.batch_size,) if artefact.info.batch_size else batches:
            judge.judge(image, batch_size)
    ap = None
    if measure_ap is not None:
        ap = measure_ap(Detector.of(model)), measure_ap(Detector.of(artefact))
    parity = Parity(judge.agreement, tuple(judge.errors), tuple(judge.wrong_choices), judge.num_choices, ap)
    failures = parity.failures()
    if failures:
        more = f" ({len(failures) - 3} more)" if len(failures) > 3 else ""
        raise UserError(
            f"The artefact does not compute what the model computes, and was deleted. {'; '.join(failures[:3])}{more}.",
            "Export in float32, or report this with the output of `brs-detr doctor`.",
        )
    return parity


@dataclass
class _Judge:
    """Runs an artefact on images and collects how far it is from its model."""

    model: ModelSession
    exact: ModelSession
    artefact: StagedSession
    errors: list[StageError] = field(default_factory=list)
    wrong_choices: list[str] = field(default_factory=list)
    num_choices: int = 0
    agreement: Comparison = field(default_factory=Comparison)

    @torch.inference_mode()
    def judge(self, image: NamedImage, batch_size: int) -> None:
        """Judge the artefact on a batch of copies of a image."""
        batch, settings = [image.pixels] * batch_size, self.artefact.info.preprocessing
        inputs = (np.stack(batch), None) if settings.inside else prepare(batch, settings)[:2]
        outputs = self._run(inputs, f"{image.name}, batch of {batch_size}")
        prepared = prepare(batch[:1], self.model.info.preprocessing)
        found = {name: torch.from_numpy(output) for name, output in outputs.items()}
        if not self.artefact.info.postprocessing.inside:
            found["detections"] = self._best(found)
        # the model has its batch, too: in batches libraries choose other kernels, which round in another way
        rounded = self.model.expected_stages(prepared, batch_size).of(found)
        exact = self.exact.expected_stages(prepared, 1).of(found)
        expected = Detector.of(self.model, score_threshold=0)(image.pixels)
        for place, (own, true) in enumerate(zip(rounded, exact, strict=True)):
            one = {name: output[place] for name, output in found.items()}
            detected = self._detected(one, true.choices[-1], prepared, self.exact)
            values = {**_images(one, prepared), **true.values, **detected}
            own_values = {**own.values, **self._detected(one, own.choices[-1], prepared, self.model)}
            for stage, (value, exactly) in values.items():
                rounding = own_values[stage][1] if stage in own_values else exactly
                self.errors.append(stage_error(stage, image, batch_size, value, rounding, exactly))
            self._judge_choices(true.choices, f"{image.name}, batch of {batch_size}")
            boxes, scores, labels = (detected[name][0].numpy() for name in Outputs._fields)
            boxes = boxes if settings.inside else (boxes / prepared.scales).astype(np.float32)
            score_map = self.artefact.info.postprocessing.score_map
            scores = scores if score_map is None else score_map(scores, labels).astype(np.float32)
            detections = Detections(boxes, scores, labels, self.artefact.info.class_names)
            self.agreement += compare(expected, detections, TOLERANCES[self.artefact.info.precision])

    def _run(self, inputs: tuple[NDArray[Any], NDArray[np.int64] | None], where: str) -> dict[str, NDArray[Any]]:
        try:
            return self.artefact.run_all(*inputs)
        except Exception as error:  # each library has its own
            *_, last_line = ["", *str(error).strip().splitlines()]
            raise UserError(
                f"The artefact fails on {where}, and was deleted: {type(error).__name__}: {last_line}",
                "Report this with the output of `brs-detr doctor`.",
            ) from error

    def _best(self, found: Mapping[str, Tensor]) -> Tensor:
        """Places ``[B, K]`` of the detections among the candidates, where the file leaves the choice to the runtime."""
        settings = self.artefact.info.postprocessing
        chosen = np.full((len(found["scores"]), settings.max_detections), -1)
        for row, *candidates in zip(chosen, *(found[name].numpy() for name in Outputs._fields), strict=True):
            places = best_candidates(candidates[0], candidates[1], candidates[2], settings)
            row[: len(places)] = places
        return torch.from_numpy(chosen)

    def _detected(
        self, found: Mapping[str, Tensor], final: Choice, prepared: Prepared, model: ModelSession
    ) -> dict[str, Stage]:
        """Detections as the file gives them, and as its own candidates at the chosen places are."""
        assert final.boxes is not None and final.labels is not None
        places = final.chosen[final.chosen >= 0]
        boxes, scores, labels = final.boxes[places], final.scores[places], final.labels[places]
        rows = places
        if self.artefact.info.postprocessing.inside:
            rows, scores = (found["scores"] >= 0).nonzero()[:, 0], model.mapped(scores, labels)
        if self.artefact.info.preprocessing.inside:
            boxes = boxes / torch.from_numpy(prepared.scales)
        expected = {"boxes": boxes, "scores": scores, "labels": labels}
        return {name: (found[name][rows], value) for name, value in expected.items()}

    def _judge_choices(self, choices: Sequence[Choice], where: str) -> None:
        self.num_choices += len(choices)
        for choice in choices:
            fault = choice.fault()
            if fault is not None:
                self.wrong_choices.append(f"{choice.name} on {where}: {fault}")


def _images(found: Mapping[str, Tensor], prepared: Prepared) -> dict[str, Stage]:
    """The images as the file prepares them, where it does."""
    return {"prepared": (found["prepared"], torch.from_numpy(prepared.images[0]))} if "prepared" in found else {}


def stage_error(
    stage: str, image: NamedImage, batch_size: int, value: Tensor, rounded: Tensor, exact: Tensor
) -> StageError:
    """Measure a stage: what a file gave, the model in its own precision, and in float64, of one shape."""
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
