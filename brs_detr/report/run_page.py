"""The page of a training run: what came out, what went wrong, and how to repeat it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from brs_detr.analysis.score_measures import MEASURES
from brs_detr.report.detection_figures import (
    class_reliability_figure,
    confusion_figure,
    error_figure,
    pr_figure,
    reliability_figure,
    threshold_figure,
)
from brs_detr.report.figure import inline_svg
from brs_detr.report.page import write_page
from brs_detr.report.pictures import TruthPicture
from brs_detr.report.tables import threshold_text
from brs_detr.report.training_figures import learning_rate_figure, loss_figure, metric_figure
from brs_detr.runtime.calibration import Thresholds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from brs_detr.analysis.analysis import Analysis
    from brs_detr.analysis.error_types import ErrorType

MOST_OPEN_CLASSES = 20  # more are folded away
MOST_CLASS_FIGURES = 12

ADVICE = {
    "class": "See in the confusion matrix which classes are taken for each other. Clearer rules for labelling them, or "
    "more examples of the rarer one, help most.",
    "localisation": "The boxes are near, but not tight. Look whether the annotations are; a higher resolution helps "
    "small objects.",
    "both": "Detections lie near objects of another class. Longer training usually takes most of these away.",
    "duplicate": "One object is found several times. A higher threshold hides most of it; longer training teaches the "
    "queries to keep apart.",
    "background": "Look at these first: often they are objects that nobody annotated. If not, a higher threshold and "
    "training images without objects help.",
    "missed": "Nothing is found there at all. Small objects want a higher resolution, rare ones want more examples.",
}


@dataclass(frozen=True)
class RunReport:
    """What is known of a run; every part may be missing.

    Args:
        name: of the run.
        folder: as the user may type it.
        record: content of `run.json`.
        rows: of `metrics.csv`, as numbers.
        config: a few facts of the config, by what they are.
        split: what was analysed.
        analysis: of the detections of the best weights on it.
        pictures: of the images with the most errors.
        missing: sentences about what could not be had.
        version: of this package.
    """

    name: str
    folder: str
    record: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Mapping[str, Any]] = ()
    config: Mapping[str, str] = field(default_factory=dict)
    split: str = "val"
    analysis: Analysis | None = None
    pictures: Sequence[TruthPicture] = ()
    missing: Sequence[str] = ()
    version: str = ""


class _Shown(NamedTuple):
    svg: str
    caption: str


def write_run_page(report: RunReport, page: Path, pictures: Path) -> Path:
    """Write the page, which needs no other file, and its figures as PNG files.

    Args:
        report: what to show.
        page: of the HTML file.
        pictures: folder for the PNG files, made where there is none.
    """
    pictures.mkdir(parents=True, exist_ok=True)
    shown = {}
    for name, figure, caption in _figures(report):
        figure.savefig(pictures / f"{name}.png")
        shown[name] = _Shown(inline_svg(figure, caption), caption)
    write_page(
        page,
        "run.html.j2",
        report=report,
        figures=shown,
        advice=_advice(report.analysis),
        duration=_duration(report.record.get("seconds")),
        measures=MEASURES,
        threshold_text=threshold_text,
        most_open_classes=MOST_OPEN_CLASSES,
    )
    return page


def _figures(report: RunReport) -> Iterator[tuple[str, Figure, str]]:
    """Name, figure and caption of everything that there are numbers for."""
    losses = [row for row in report.rows if row.get("loss") is not None]
    metrics = [row for row in report.rows if row.get("AP") is not None]
    if losses:
        yield "losses", loss_figure(losses), "Losses of each head, smoothed over the iterations."
        yield "learning_rate", learning_rate_figure(losses), "Learning rate, and how large the gradients were."
    if metrics:
        best = report.record.get("best_epoch")
        yield "metrics", metric_figure(metrics, best), "Precision on the validation images; the best epoch is marked."
    analysis = report.analysis
    if analysis is None:
        return
    yield (
        "precision_recall",
        pr_figure(analysis.pr_curves),
        "How many of the detections are right, by how much is found.",
    )
    scores = analysis.scores
    if len(scores.curves.scores):
        yield "threshold", threshold_figure(scores.curves, scores.thresholds), _threshold_caption(scores.thresholds)
    yield "confusion", confusion_figure(analysis.confusion), "Rows: what is there. Columns: what it was taken for."
    calibrated = analysis.calibrated
    yield (
        "calibration",
        reliability_figure(analysis.raw.reliability, calibrated.reliability if calibrated else None),
        "On the diagonal a score is a probability. The larger a dot, the more detections; the line through it is where "
        "the share lies by 95 %.",
    )
    names = _classes_to_draw(analysis)
    if calibrated and len(names) > 1:
        raw, mapped = ({name: part.reliability_of[name] for name in names} for part in (analysis.raw, calibrated))
        which = f" The {len(names)} classes with the most objects." if len(names) < len(analysis.class_names) else ""
        yield "calibration_by_class", class_reliability_figure(raw, mapped), f"The same for each class.{which}"
    yield "errors", error_figure(analysis.error_types), "How much AP50 would rise if one kind of error were corrected."


def _threshold_caption(thresholds: Thresholds) -> str:
    if isinstance(thresholds, tuple):
        return "All classes together. In use is a threshold for each class."
    return "All classes together. The dotted line is the threshold in use."


def _classes_to_draw(analysis: Analysis) -> list[str]:
    """Those with detections that have the most objects, in their own order."""
    rows = {name: row for name, row in analysis.raw.per_class.items() if row["detections"]}
    most = sorted(rows, key=lambda name: -rows[name]["objects"])[:MOST_CLASS_FIGURES]
    return [name for name in rows if name in most]


def _advice(analysis: Analysis | None) -> list[tuple[ErrorType, str]]:
    """The kinds of errors that cost most, with what can be done."""
    if analysis is None:
        return []
    costly = sorted(analysis.error_types, key=lambda error: -error.lost_AP50)[:3]
    return [(error, ADVICE[error.name]) for error in costly if error.lost_AP50 >= 0.01]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
