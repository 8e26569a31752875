"""The gate of an export: the artefact finds what the model finds, or there is no artefact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

from rich.console import Console

from brs_detr.engine.bars import track
from brs_detr.errors import UserError
from brs_detr.export.comparison import Comparison, Tolerance, compare
from brs_detr.export.parity_images import Picture
from brs_detr.export.sessions import ModelSession
from brs_detr.export.ties import has_tied_queries
from brs_detr.runtime.detections import Detections
from brs_detr.runtime.detector import Detector
from brs_detr.runtime.preprocess import prepare
from brs_detr.runtime.session import Session

TOLERANCES = {
    "float32": Tolerance(box=1e-3, score=1e-5, ap=1e-4, unmatched=0.02),
    "float16": Tolerance(box=2.0, score=0.005, ap=0.005, unmatched=0.2),
    "bfloat16": Tolerance(box=8.0, score=0.05, ap=0.02, unmatched=0.5),
}
"""By precision; boxes in pixels."""

MOST_NOISE = 10.0
"""By what factor the bounds may be widened for rounding errors of the model itself."""

BATCHES = (1, 4)
"""Sizes of the batches that are compared."""


@dataclass(frozen=True)
class ParityRow:
    """One picture, in a batch of so many copies of it.

    Args:
        picture: its name.
        batch_size: number of the copies.
        comparison: of what was found.
        tolerance: that was asked for there.
        is_tied: the two differ, and rounding decides there what the model finds: nothing can be said.
    """

    picture: str
    batch_size: int
    comparison: Comparison
    tolerance: Tolerance
    is_tied: bool = False

    @property
    def is_passed(self) -> bool:
        """Whether the artefact finds the same, as far as can be said."""
        return self.is_tied or self.comparison.is_within(self.tolerance)


@dataclass(frozen=True)
class Parity:
    """What a comparison came to.

    Args:
        rows: one for each picture and size of batch.
        tolerance: that was asked for where the model itself is precise enough.
        ap: of the model and of the artefact on a data set; None where none was given.
    """

    rows: tuple[ParityRow, ...]
    tolerance: Tolerance
    ap: tuple[float, float] | None = None

    @property
    def total(self) -> Comparison:
        """Of all rows together that can be compared."""
        return reduce(add, (row.comparison for row in self.rows if not row.is_tied), Comparison())

    def failures(self) -> list[str]:
        """What is beyond the tolerance, in words."""
        failed = [
            f"{row.picture}, batch of {row.batch_size}: {-(-row.comparison.num_unmatched // 2)} of "
            f"{row.comparison.num_detections} detections have no partner within {row.tolerance.box:g} px and a score "
            f"of {row.tolerance.score:g}"
            for row in self.rows
            if not row.is_passed
        ]
        if all(row.is_tied for row in self.rows):
            failed.append("on every picture rounding decides what the model finds")
        if self.ap is not None and abs(self.ap[0] - self.ap[1]) > self.tolerance.ap:
            failed.append(f"AP is {self.ap[1]:.5f} where the model has {self.ap[0]:.5f}")
        return failed

    def summary(self) -> dict[str, Any]:
        """The figures, for the artefact's description."""
        total = self.total
        figures: dict[str, Any] = {
            "pictures": len({row.picture for row in self.rows}),
            "tied_pictures": len({row.picture for row in self.rows if row.is_tied}),
            "detections": total.num_detections,
            "matched": total.num_matched,
            "at_edge": total.num_at_edge,
            "unmatched": total.num_unmatched,
            "max_box_error_px": total.max_box_error,
            "max_score_error": total.max_score_error,
            "widest_box_tolerance_px": max(row.tolerance.box for row in self.rows),
        }
        return figures if self.ap is None else {**figures, "AP_model": self.ap[0], "AP_artefact": self.ap[1]}


def require_parity(
    model: ModelSession,
    exact: ModelSession,
    artefact: Session,
    pictures: Sequence[Picture],
    *,
    tolerance: Tolerance | None = None,
    measure_ap: Callable[[Detector], float] | None = None,
    batches: Sequence[int] = BATCHES,
    console: Console,
) -> Parity:
    """Compare what an artefact and its model find.

    Where they differ by more than the tolerance, the model is asked for the same in float64. Two programs with the same
    weights can be no closer to each other than each is to exact arithmetic: the bound is widened to twice the model's
    own error, if need be, but not by more than `MOST_NOISE`. A picture on which rounding decides what the model finds
    is left out: its float32 and float64 differ by more than that, or two proposals tie for the last query. Random
    weights have such pictures, trained ones hardly ever.

    Args:
        model: that the artefact was made from.
        exact: the same in float64.
        artefact: to be shown to be the same.
        pictures: to compare on, each by itself and, where the artefact takes any number, in batches.
        tolerance: by default the one of the artefact's precision in `TOLERANCES`.
        measure_ap: AP of a detector on a data set.
        batches: sizes of the batches, of an artefact that takes any.
        console: where progress is shown.

    Raises:
        UserError: they differ beyond the tolerance.
    """
    tolerance = tolerance or TOLERANCES[artefact.info.precision]
    rows = [
        row
        for picture in track(pictures, "comparing", console)
        for row in _compare_on(model, exact, artefact, picture, tolerance, batches)
    ]
    ap = None
    if measure_ap is not None:
        ap = measure_ap(Detector.of(model)), measure_ap(Detector.of(artefact))
    parity = Parity(tuple(rows), tolerance, ap)
    failures = parity.failures()
    if failures:
        raise UserError(
            "The artefact does not find what the model finds, and was deleted. " + "; ".join(failures) + ".",
            "Export in float32, or report this with the output of `brs-detr doctor`.",
        )
    return parity


def _compare_on(
    model: ModelSession,
    exact: ModelSession,
    artefact: Session,
    picture: Picture,
    tolerance: Tolerance,
    batches: Sequence[int],
) -> Iterator[ParityRow]:
    expected = Detector.of(model, score_threshold=0)(picture.pixels)
    fixed = artefact.info.batch_size
    for batch_size in (fixed,) if fixed else batches:
        found = Detector.of(artefact, 0, batch_size)([picture.pixels] * batch_size)
        asked, is_tied = tolerance, False
        comparison = compare_all(expected, found, asked)
        if not comparison.is_within(asked):
            noise, asked = _noise(tolerance, expected, Detector.of(exact, score_threshold=0)(picture.pixels))
            comparison = compare_all(expected, found, asked)
            is_tied = not comparison.is_within(asked) and (
                not noise.is_within(tolerance)
                or has_tied_queries(model, exact, prepare([picture.pixels], model.info.preprocessing))
            )
        yield ParityRow(picture.name, batch_size, comparison, asked, is_tied)


def compare_all(expected: Detections, found: Sequence[Detections], tolerance: Tolerance) -> Comparison:
    """Compare each of several results on one picture with what was expected."""
    return reduce(add, (compare(expected, one, tolerance) for one in found))


def _noise(tolerance: Tolerance, rounded: Detections, exact: Detections) -> tuple[Comparison, Tolerance]:
    """How far the model in float32 is from itself in float64, and a tolerance of twice that, within limits."""
    most = replace(tolerance, box=tolerance.box * MOST_NOISE, score=tolerance.score * MOST_NOISE)
    noise = compare(exact, rounded, most)
    widened = replace(
        tolerance,
        box=min(max(tolerance.box, 2 * noise.max_box_error), most.box),
        score=min(max(tolerance.score, 2 * noise.max_score_error), most.score),
    )
    return noise, widened
