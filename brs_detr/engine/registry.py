"""The one place where mmengine learns the names of the engine's classes."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from brs_detr.errors import UserError, did_you_mean


def register() -> None:
    """Repair mmdet, then make the classes of this package that configs name available to them."""
    from brs_detr.data import registry

    registry.register()
    import mmdet.models  # noqa: F401  a checkpoint may name any of its detectors
    from mmengine.registry import FUNCTIONS, HOOKS, LOOPS, METRICS, OPTIM_WRAPPERS, VISBACKENDS

    from brs_detr.engine.coco_metric import CocoAPMetric
    from brs_detr.engine.finetune.close_mosaic import CloseMosaic
    from brs_detr.engine.finetune.early_stopping import StopEarly
    from brs_detr.engine.loaders import begin_worker
    from brs_detr.engine.training.autocast import AutocastOptimWrapper
    from brs_detr.engine.training.guarded_optimizer import GuardedOptimWrapper
    from brs_detr.engine.training.metrics_csv import MetricsCsv
    from brs_detr.engine.training.seeds import SeedSteps
    from brs_detr.engine.training.train_loop import TrainLoop

    for hook in (CloseMosaic, SeedSteps, StopEarly):
        HOOKS.register_module(module=hook, force=True)
    FUNCTIONS.register_module(module=begin_worker, force=True)
    LOOPS.register_module(module=TrainLoop, force=True)
    METRICS.register_module(module=CocoAPMetric, force=True)
    for wrapper in (AutocastOptimWrapper, GuardedOptimWrapper):
        OPTIM_WRAPPERS.register_module(module=wrapper, force=True)
    VISBACKENDS.register_module(module=MetricsCsv, force=True)


def import_modules(config: Mapping[str, Any]) -> None:
    """Import what a config that is trusted needs.

    Raises:
        UserError: there is no such module.
    """
    for name in (config.get("custom_imports") or {}).get("imports", []):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UserError(
                f"The config needs the module {name}: {error}", "Install it, or add its folder to PYTHONPATH."
            ) from None


def explain_unknown_type(error: KeyError) -> UserError | None:
    """What to tell a user whose config names a `type` that is not registered; None for any other KeyError."""
    from mmengine.registry import MODELS

    found = re.search(r"(\w+) is not in the (\S+) registry", str(error))
    if found is None:
        return None
    registries = [MODELS, *MODELS.children.values()]
    known = {name for registry in registries for name in registry.module_dict}
    return UserError(f"The config names a type that does not exist: {found[1]}.", did_you_mean(found[1], known))


def explain_unknown_option(error: TypeError) -> UserError | None:
    """What to tell a user whose config gives a class an argument that it does not have; None for other TypeErrors."""
    found = re.search(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if found is None:
        return None
    return UserError(f"The config gives {found[1]} an option that it does not have: {found[2]}.", "Check its spelling.")
