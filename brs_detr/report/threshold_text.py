"""Thresholds as a reader sees them."""

from __future__ import annotations

from brs_detr.runtime.calibration import Thresholds


def threshold_text(thresholds: Thresholds) -> str:
    """A threshold with three decimals, or the range of those of the classes."""
    if isinstance(thresholds, tuple):
        return f"{min(thresholds):.3f} to {max(thresholds):.3f}, by class"
    return f"{thresholds:.3f}"
