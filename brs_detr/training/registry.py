"""The one place where mmengine learns the names of our classes for training."""

from __future__ import annotations

from brs_detr.evaluation import registry


def register() -> None:
    """Make what a training is built from available to configs, evaluation, models and data too."""
    registry.register()
    from mmengine.registry import HOOKS, LOOPS, OPTIM_WRAPPERS, VISBACKENDS

    from brs_detr.training.autocast import AutocastOptimWrapper
    from brs_detr.training.close_mosaic import CloseMosaic
    from brs_detr.training.early_stopping import StopEarly
    from brs_detr.training.guarded_optimizer import GuardedOptimWrapper
    from brs_detr.training.metrics_csv import MetricsCsv
    from brs_detr.training.seeds import SeedSteps
    from brs_detr.training.train_loop import TrainLoop

    for hook in (CloseMosaic, SeedSteps, StopEarly):
        HOOKS.register_module(module=hook, force=True)
    LOOPS.register_module(module=TrainLoop, force=True)
    for wrapper in (AutocastOptimWrapper, GuardedOptimWrapper):
        OPTIM_WRAPPERS.register_module(module=wrapper, force=True)
    VISBACKENDS.register_module(module=MetricsCsv, force=True)
