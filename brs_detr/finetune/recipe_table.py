"""A recipe as a table for the console, before training."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from brs_detr.finetune.recipe import Recipe
from brs_detr.finetune.tuning import Tuning

if TYPE_CHECKING:
    from rich.table import Table

WHY: dict[str, dict[str, str]] = {
    "epochs": {"few": "few images: many passes", "some": "a middling set", "many": "many images: few passes"},
    "effective_batch": {
        "detector": "what DETRs are tuned for",
        "backbone": "what DETRs are tuned for",
        "nothing": "all is to be learnt: steps count",
    },
    "learning_rate": {
        "detector": "a trained detector: small steps",
        "backbone": "new heads on a trained backbone",
        "nothing": "random weights",
    },
    "backbone_lr": {"detector": "it knows images", "backbone": "it knows images"},
    "frozen_stages": {
        "nothing": "nothing learnt to keep",
        "few": "few images: keep what is learnt",
        "some": "edges are edges",
        "many": "edges are edges",
    },
    "ema": {"few": "steadier than single steps", "some": "steadier than single steps", "nothing": "steadier"},
    "crop": {"nothing": "whole images are easier at first"},
    "colour": {"few": "light that few images show"},
}
"""Reasons in few words, by the start or by the size of the training set."""


class Row(NamedTuple):
    """A line of the table."""

    what: str
    value: str
    why: str


def recipe_rows(
    tuning: Tuning, resolution: tuple[int, int] | None, queries: int | None, is_ranking: bool = False
) -> list[Row]:
    """What will be done, and why.

    Args:
        tuning: what was decided.
        resolution: (long side, short side) in pixels.
        queries: of the model; None for a detector without.
        is_ranking: whether the model has ranking losses.
    """
    recipe, interval = tuning.recipe, tuning.val_interval
    rows = [
        Row("epochs", f"{tuning.epochs}, {tuning.epochs * tuning.plan.updates} steps", _why_epochs(tuning)),
        Row("batch", str(tuning.plan), _why(tuning, "effective_batch")),
        Row("ranking", _ranking(tuning), _why(tuning, "joint_ranking")),
        Row("learning rate", f"{tuning.learning_rate:.3g}, {recipe.schedule}", _why(tuning, "learning_rate")),
        Row("backbone", _backbone(recipe), _why(tuning, "backbone_lr", "layer_decay")),
        Row("frozen", _frozen(recipe.frozen_stages), _why(tuning, "frozen_stages")),
        Row("image size", _size(recipe, resolution), _why(tuning, "resolution", "multi_scale")),
        Row("augmentation", _augmentation(recipe), _why(tuning, "crop", "colour", "flip", "mosaic")),
        Row("queries", str(queries), f"at most {tuning.facts.max_objects} objects an image"),
        Row("moving mean", "yes" if recipe.ema else "no", _why(tuning, "ema")),
        Row("evaluation", "every epoch" if interval == 1 else f"every {interval} epochs", ""),
        Row("early stop", _patience(recipe.patience), _why(tuning, "patience")),
    ]
    is_shown = {"queries": queries is not None, "ranking": is_ranking}
    return [row for row in rows if is_shown.get(row.what, True)]


def recipe_table(rows: list[Row]) -> Table:
    """The rows for a rich console."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("recipe", "", "why"):
        table.add_column(column)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _why(tuning: Tuning, *settings: str) -> str:
    if tuning.asked.intersection(settings):
        return "as you asked"
    reasons = (WHY.get(setting, {}) for setting in settings)
    found = (reason.get(tuning.start) or reason.get(tuning.size) for reason in reasons)
    return next(filter(None, found), "")


def _why_epochs(tuning: Tuning) -> str:
    if tuning.epochs > tuning.recipe.epochs:
        return f"at least {tuning.recipe.min_updates} steps"
    return _why(tuning, "epochs")


def _backbone(recipe: Recipe) -> str:
    if recipe.backbone_lr == 1 and recipe.layer_decay == 1:
        return "the same"
    decay = f", {recipe.layer_decay:g} a stage" if recipe.layer_decay < 1 else ""
    return f"{recipe.backbone_lr:g} of that{decay}"


def _ranking(tuning: Tuning) -> str:
    plan = tuning.plan
    joined = plan.accumulation if tuning.recipe.joint_ranking else 1
    return f"among {min(plan.batch * joined, plan.num_images)} images"


def _frozen(stages: int) -> str:
    if stages <= 0:
        return "nothing" if stages < 0 else "stem"
    return f"stem, {stages} stage{'s' * (stages > 1)}"


def _size(recipe: Recipe, resolution: tuple[int, int] | None) -> str:
    low, high = recipe.multi_scale
    inside = "as they are" if resolution is None else f"{resolution[0]} x {resolution[1]}"
    return f"{inside}, {low:g} to {high:g} of it"


def _augmentation(recipe: Recipe) -> str:
    parts = {"flip": recipe.flip, "crop": recipe.crop, "colour": recipe.colour, "mosaic": recipe.mosaic}
    return ", ".join(name for name, value in parts.items() if value) or "none"


def _patience(patience: int) -> str:
    return f"after {patience} without a better AP" if patience else "no"
