"""The one place where mmengine learns the names of the engine's classes."""

from __future__ import annotations

import re

from brs_detr.errors import UserError, did_you_mean


def register() -> None:
    """Repair mmdet, then make `CocoAPMetric`, `AutocastOptimWrapper` and the data classes available to configs."""
    from brs_detr.data import registry

    registry.register()
    from mmengine.registry import METRICS, OPTIM_WRAPPERS

    from brs_detr.engine.autocast import AutocastOptimWrapper
    from brs_detr.engine.coco_metric import CocoAPMetric

    METRICS.register_module(module=CocoAPMetric, force=True)
    OPTIM_WRAPPERS.register_module(module=AutocastOptimWrapper, force=True)


def explain_unknown_type(error: KeyError) -> UserError | None:
    """What to tell a user whose config names a `type` that is not registered; None for any other KeyError."""
    from mmengine.registry import MODELS

    found = re.search(r"(\w+) is not in the (\S+) registry", str(error))
    if found is None:
        return None
    registries = [MODELS, *MODELS.children.values()]
    known = {name for registry in registries for name in registry.module_dict}
    return UserError(f"The config names a type that does not exist: {found[1]}.", did_you_mean(found[1], known))
