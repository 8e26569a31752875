"""Train longer or shorter than a config says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine import Config

_EPOCH_COUNTS = ("begin", "end", "T_max", "step_size")


def set_epochs(config: Config, epochs: int) -> None:
    """Set the number of epochs, and stretch the learning rate schedule with it.

    Args:
        config: changed in place.
        epochs: at least 1.
    """
    ratio = epochs / config.train_cfg.max_epochs
    config.train_cfg.max_epochs = epochs
    schedulers = config.get("param_scheduler") or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        if scheduler.get("by_epoch", True):
            _stretch(scheduler, ratio)


def _stretch(scheduler: dict[str, Any], ratio: float) -> None:
    for key in _EPOCH_COUNTS:
        if scheduler.get(key):
            scheduler[key] = max(1, round(scheduler[key] * ratio))
    if "milestones" in scheduler:
        scheduler["milestones"] = [max(1, round(milestone * ratio)) for milestone in scheduler["milestones"]]
