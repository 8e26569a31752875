"""Register our training classes with mmengine, so that configs can name them."""

from __future__ import annotations

from brs_detr.evaluation import loaders


def register() -> None:
    """Register our classes for training, and those for evaluation, models and data."""
    loaders.register()
    from mmengine.registry import HOOKS, LOOPS, OPTIM_WRAPPERS, VISBACKENDS

    from brs_detr.training.guard import AutocastOptimWrapper, GuardedOptimWrapper
    from brs_detr.training.hooks import CloseMosaic, StopEarly
    from brs_detr.training.loggers import MetricsCsv
    from brs_detr.training.seeds import SeedSteps
    from brs_detr.training.train_loop import TrainLoop

    for hook in (CloseMosaic, SeedSteps, StopEarly):
        HOOKS.register_module(module=hook, force=True)
    LOOPS.register_module(module=TrainLoop, force=True)
    for wrapper in (AutocastOptimWrapper, GuardedOptimWrapper):
        OPTIM_WRAPPERS.register_module(module=wrapper, force=True)
    VISBACKENDS.register_module(module=MetricsCsv, force=True)
