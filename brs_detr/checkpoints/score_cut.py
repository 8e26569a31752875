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
        cut = _number(settings, _CUT, 0.0)
        if str(head.get("type", "")).startswith("Ranking") and cut > 0:
            settings[_CUT] = 0.0
            if settings is not model.get("test_cfg"):  # without a cut, a second stage has a score for every pair
                settings.setdefault(_NUM_KEPT, max(1000, 10 * int(_number(settings, "max_per_img", 100))))
            highest = max(highest, cut)
    return highest


def warn_of_cut(model: Mapping[str, Any], best_threshold: float) -> str | None:
    """A sentence for the user where the best threshold lies at the lowest score that is kept: more may lie below.

    Args:
        model: config of a detector.
        best_threshold: score with the best F1.
    """
    cut = max((_number(settings, _CUT, 0.0) for _, settings in _heads(model)), default=0.0)
    if not 0 < cut <= best_threshold <= cut + _NEAR:
        return None
    return (
        f"The best F1 is at a score of {best_threshold:.3f}, the lowest that is kept ({_CUT}={cut:g}): what lies below "
        f"would raise the AP. Set {_CUT} to 0 in the model's test_cfg."
    )


def _heads(model: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], MutableMapping[str, Any]]]:
    """Heads that give detections, with their part of ``test_cfg``; whatever else a file may have there is not one."""
    settings, box_head = model.get("test_cfg"), _part(model.get("roi_head"), "bbox_head")
    heads = (
        (model.get("bbox_head"), settings),
        (model.get("atss_head"), _part(settings, "atss")),
        (box_head[-1] if isinstance(box_head, (list, tuple)) and box_head else box_head, _part(settings, "rcnn")),
    )
    for head, own in heads:
        if isinstance(head, Mapping) and isinstance(own, MutableMapping):
            yield head, own


def _part(node: Any, key: str) -> Any:
    return node.get(key) if isinstance(node, Mapping) else None


def _number(settings: Mapping[str, Any], key: str, default: float) -> float:
    value = settings.get(key)
    return float(value) if isinstance(value, (int, float)) else default
