"""The one place where mmengine learns the names of the engine's classes."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from typing import Any

from brs_detr.errors import UserError, did_you_mean

_OWN_PACKAGES = {"brs_detr", "co_detr"}
_OPERATORS = {"nms", "soft_nms", "RoIAlign"}  # which mmcv and mmdet find by other ways


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
    """Import what the config of a checkpoint needs: our own packages, and what the program has imported already.

    Raises:
        UserError: it names another module, whose code would run.
    """
    for name in config.get("custom_imports", {}).get("imports", []):
        if name.split(".")[0] not in _OWN_PACKAGES and name not in sys.modules:
            raise UserError(
                f"The checkpoint's config asks to import {name}, which could be any code.",
                f"If you trust it, `import {name}` before you open the checkpoint.",
            )
        importlib.import_module(name)


def require_known_types(node: Any) -> None:
    """Check every `type` of a config that comes from a file.

    mmengine imports and calls a `type` that is no registered name but a path (`package.function`), and mmcv evaluates
    the type of an NMS as Python.

    Raises:
        UserError: a `type` is no name in a registry.
    """
    if isinstance(node, Mapping):
        kind = node.get("type", "nms")
        if not isinstance(kind, str) or kind.rpartition(".")[2] not in _known_types() | _OPERATORS:
            raise UserError(f"The checkpoint's config is refused: its type {kind!r} is not a registered name.")
    for child in node.values() if isinstance(node, Mapping) else node if isinstance(node, (list, tuple)) else ():
        require_known_types(child)


def _known_types() -> set[str]:
    from mmengine import registry

    roots = [root for root in vars(registry).values() if isinstance(root, registry.Registry)]
    return {name for root in roots for known in (root, *root.children.values()) for name in known.module_dict}


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
