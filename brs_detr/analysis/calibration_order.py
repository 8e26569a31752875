"""A calibration for the classes of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from brs_detr.errors import UserError, shortened
from brs_detr.runtime.calibration import Calibration
from brs_detr.runtime.score_map import ScoreMap


def in_order_of(calibration: Calibration, class_names: Sequence[str], wanted: Sequence[str]) -> Calibration:
    """The same calibration with its classes in another order.

    Args:
        calibration: of the classes of a checkpoint.
        class_names: of the checkpoint; the place in the list is the label.
        wanted: the same names in the order of the category ids of a data set.

    Raises:
        UserError: they are not the same names.
    """
    odd = sorted(set(class_names) ^ set(wanted))
    if odd:
        raise UserError(
            f"The data and the checkpoint differ in their classes; only one knows {shortened(odd)}.",
            "Measure the scores on data of the same classes.",
        )
    order = [list(class_names).index(name) for name in wanted]
    thresholds = calibration.thresholds
    return replace(
        calibration,
        score_map=ScoreMap(calibration.score_map.knots[order], calibration.score_map.values[order]),
        num_detections=tuple(calibration.num_detections[label] for label in order),
        thresholds=tuple(thresholds[label] for label in order) if isinstance(thresholds, tuple) else thresholds,
    )
