"""The report page of a training run."""

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

MOST_OPEN_CLASSES = 20  # a table of more classes is collapsed
MOST_CLASS_FIGURES = 12

ADVICE = {
    "class": "The confusion matrix shows which classes are confused. Clearer labelling rules, or more examples of the "
    "rarer class, help most.",
    "localisation": "Boxes are close, but not tight. Check whether the annotations are; a higher resolution helps with "
    "small objects.",
    "both": "Detections lie near objects of another class. Longer training usually removes most of these errors.",
    "duplicate": "Objects are found several times. A higher threshold hides most duplicates; longer training teaches "
    "the queries to avoid them.",
    "background": "Look at these first: often they are objects without an annotation. If not, a higher threshold and "
    "training images without objects help.",
    "missed": "No detection is near these objects. Small ones need a higher resolution, rare ones more examples.",
}


@dataclass(frozen=True)
class RunReport:
    """Content of a report; every part is optional.

    Args:
        name: name of the run.
        folder: its folder, as used in commands.
        record: content of `run.json`.
        rows: rows of `metrics.csv`, as numbers.
        config: facts about the config by label.
        split: the split that was analysed.
        analysis: analysis of the detections of the best weights on this split.
        pictures: images with the most errors.
        missing: sentences about missing parts.
        version: version of this package.
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
    """Write a self-contained page, and its figures as PNG files.

    Args:
        report: content of the page.
        page: HTML file to write.
        pictures: folder for the PNG files; it is created if needed.
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
    """Yield name, figure and caption of each figure with data."""
    losses = [row for row in report.rows if row.get("loss") is not None]
    metrics = [row for row in report.rows if row.get("AP") is not None]
    if losses:
        yield "losses", loss_figure(losses), "Losses of each head, smoothed over the iterations."
        yield "learning_rate", learning_rate_figure(losses), "Learning rate and gradient norm."
    if metrics:
        best = report.record.get("best_epoch")
        yield "metrics", metric_figure(metrics, best), "Precision on the validation images; the best epoch is marked."
    analysis = report.analysis
    if analysis is None:
        return
    yield (
        "precision_recall",
        pr_figure(analysis.pr_curves),
        "Precision by recall at IoU 0.5.",
    )
    scores = analysis.scores
    if len(scores.curves.scores):
        yield "threshold", threshold_figure(scores.curves, scores.thresholds), _threshold_caption(scores.thresholds)
    yield "confusion", confusion_figure(analysis.confusion), "Rows: true class. Columns: detected class."
    calibrated = analysis.calibrated
    yield (
        "calibration",
        reliability_figure(analysis.raw.reliability, calibrated.reliability if calibrated else None),
        "On the diagonal, scores are probabilities. Larger dots stand for more detections; lines are 95 % confidence "
        "intervals.",
    )
    names = _classes_to_draw(analysis)
    if calibrated and len(names) > 1:
        raw, mapped = ({name: part.reliability_of[name] for name in names} for part in (analysis.raw, calibrated))
        which = f" The {len(names)} classes with the most objects." if len(names) < len(analysis.class_names) else ""
        yield "calibration_by_class", class_reliability_figure(raw, mapped), f"The same for each class.{which}"
    yield "errors", error_figure(analysis.error_types), "Rise of AP50 if only this type of error were corrected."


def _threshold_caption(thresholds: Thresholds) -> str:
    if isinstance(thresholds, tuple):
        return "All classes together. Each class has its own threshold."
    return "All classes together. The dashed line is the threshold in use."


def _classes_to_draw(analysis: Analysis) -> list[str]:
    """Return the classes with detections and the most objects, in their usual order."""
    rows = {name: row for name, row in analysis.raw.per_class.items() if row["detections"]}
    most = sorted(rows, key=lambda name: -rows[name]["objects"])[:MOST_CLASS_FIGURES]
    return [name for name in rows if name in most]


def _advice(analysis: Analysis | None) -> list[tuple[ErrorType, str]]:
    """Return the most costly types of errors with advice."""
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
