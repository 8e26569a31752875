"""The one place where mmengine learns the names of our classes for evaluation."""

from __future__ import annotations

from brs_detr.data.loading import registry


def register() -> None:
    """Make what an evaluation is built from available to configs, models and data too."""
    registry.register()
    from mmengine.registry import FUNCTIONS, METRICS

    from brs_detr.evaluation.coco_metric import CocoAPMetric
    from brs_detr.evaluation.loaders import begin_worker

    FUNCTIONS.register_module(module=begin_worker, force=True)
    METRICS.register_module(module=CocoAPMetric, force=True)
