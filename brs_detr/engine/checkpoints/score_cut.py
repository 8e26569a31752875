"""The lowest score that a config keeps: after a ranking loss it has no meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

_CUT, _NUM_KEPT = "score_thr", "nms_pre"
_NEAR = 0.02


def leave_out_cuts(model: MutableMapping[str, Any]) -> float:
    """Let the heads with ranking losses keep whatever scores best, however low that is.

    Args:
        model: config of a detector, changed in place.

    Returns:
        The highest of the cuts that were left out; 0 without any.
    """
    highest = 0.0
    for head, settings in _heads(model):
        cut = settings.get(_CUT, 0.0)
        if str(head.get("type", "")).startswith("Ranking") and cut > 0:
            settings[_CUT] = 0.0
            if settings is not model.get("test_cfg"):  # without a cut, a second stage has a score for every pair
                settings.setdefault(_NUM_KEPT, max(1000, 10 * settings.get("max_per_img", 100)))
            highest = max(highest, float(cut))
    return highest


def warn_of_cut(model: Mapping[str, Any], best_threshold: float) -> str | None:
    """A sentence for the user where the best threshold lies at the lowest score that is kept: more may lie below.

    Args:
        model: config of a detector.
        best_threshold: score with the best F1.
    """
    cut = max((float(settings.get(_CUT, 0.0)) for _, settings in _heads(model)), default=0.0)
    if not 0 < cut <= best_threshold <= cut + _NEAR:
        return None
    return (
        f"The best F1 is at a score of {best_threshold:.3f}, the lowest that is kept ({_CUT}={cut:g}): what lies below "
        f"would raise the AP. Set {_CUT} to 0 in the model's test_cfg."
    )


def _heads(model: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], MutableMapping[str, Any]]]:
    """Heads that give detections, with their part of ``test_cfg``."""
    settings = model.get("test_cfg") or {}
    box_head = (model.get("roi_head") or {}).get("bbox_head")
    heads = (
        (model.get("bbox_head"), settings),
        (model.get("atss_head"), settings.get("atss")),
        (box_head[-1] if isinstance(box_head, (list, tuple)) else box_head, settings.get("rcnn")),
    )
    for head, own in heads:
        if isinstance(head, Mapping) and isinstance(own, MutableMapping):
            yield head, own
