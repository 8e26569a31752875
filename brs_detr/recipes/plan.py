"""A recipe fitted to the data: batch size, epochs and learning rate, and the table that explains them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from brs_detr.checkpoints.weights_file import Start
from brs_detr.data.annotations import read_annotations
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.recipes.recipe import RECIPES, Recipe, Size, size_of

if TYPE_CHECKING:
    from rich.table import Table

REFERENCE_WIDTH = 128
"""Width of the small model, for which the learning rate from random weights was tuned."""


@dataclass(frozen=True)
class BatchPlan:
    """How an optimizer step is divided into batches.

    Args:
        batch: images per process and forward pass.
        accumulation: number of batches whose gradients are averaged for a step.
        processes: number of processes.
        num_images: size of the training set.
    """

    batch: int
    accumulation: int
    processes: int
    num_images: int

    @property
    def effective(self) -> int:
        """Images per optimizer step, at most the whole training set."""
        return min(self.batch * self.accumulation * self.processes, self.num_images)

    @property
    def iterations(self) -> int:
        """Batches per epoch."""
        return math.ceil(math.ceil(self.num_images / self.processes) / self.batch)

    @property
    def updates(self) -> int:
        """Optimizer steps per epoch. The last one averages the remaining batches."""
        return math.ceil(self.iterations / self.accumulation)

    def __str__(self) -> str:
        parts = [str(self.batch)]
        parts += [f"{self.accumulation} accumulated"] * (self.accumulation > 1)
        parts += [f"{self.processes} processes"] * (self.processes > 1)
        return f"{self.effective} images" + (f": {' x '.join(parts)}" if len(parts) > 1 else "")


def plan_batch(batch: int, effective: int, processes: int, num_images: int, is_asked: bool = False) -> BatchPlan:
    """Plan how to reach an effective batch size by gradient accumulation.

    Args:
        batch: largest number of images per process and forward pass.
        effective: images per optimizer step, over all processes.
        processes: number of processes.
        num_images: size of the training set.
        is_asked: whether the user asked for `batch`, which may then exceed `effective`.
    """
    share = max(1, effective // processes)
    batch = min(batch if is_asked else min(batch, share), max(1, math.ceil(num_images / processes)))
    return BatchPlan(batch, max(1, round(effective / (batch * processes))), processes, num_images)


@dataclass(frozen=True)
class TrainingFacts:
    """The number of training images, and the most objects in any training or validation image."""

    num_images: int
    max_objects: int


def measure_facts(train: CocoSplit, others: Iterable[CocoSplit] = ()) -> TrainingFacts:
    """Count the images of `train`, and the objects per image in all splits. Crowds are not counted."""
    datasets = [read_annotations(split.annotation_file) for split in (train, *others)]
    return TrainingFacts(len(datasets[0]["images"]), max(map(_max_objects, datasets)))


def _max_objects(dataset: dict[str, Any]) -> int:
    counts = Counter(box["image_id"] for box in dataset["annotations"] if not box.get("iscrowd"))
    return max(counts.values(), default=0)


@dataclass(frozen=True)
class TrainingPlan:
    """A recipe fitted to the data.

    Args:
        recipe: the recipe, with the user's settings.
        start: kind of the starting weights.
        facts: facts about the training data.
        batch: how an optimizer step is divided into batches.
        asked: names of the settings that the user asked for.
        width: number of channels of the model's feature maps.
    """

    recipe: Recipe
    start: Start
    facts: TrainingFacts
    batch: BatchPlan
    asked: frozenset[str] = frozenset()
    width: int = REFERENCE_WIDTH

    @property
    def size(self) -> Size:
        """Size class of the training set."""
        return size_of(self.facts.num_images)

    @property
    def epochs(self) -> int:
        """Epochs of the recipe, or more to reach `min_updates`, unless the user asked for a number."""
        if "epochs" in self.asked:
            return self.recipe.epochs
        return max(self.recipe.epochs, math.ceil(self.recipe.min_updates / self.batch.updates))

    @property
    def iterations(self) -> int:
        """Batches per process in the whole run."""
        return self.epochs * self.batch.iterations

    @property
    def val_interval(self) -> int:
        """Epochs between evaluations."""
        return max(1, round(self.epochs / self.recipe.evaluations))

    @property
    def learning_rate(self) -> float:
        """Learning rate of AdamW: the user's, or that of the recipe scaled to the batch size and the model's width.

        Adam divides a gradient by its magnitude, so that its noise limits the learning rate. The noise falls with the
        square root of the batch size (Malladi et al., On the SDEs and Scaling Rules for Adaptive Gradient Algorithms,
        2022). From random weights, the learning rate is inversely proportional to the width, because a sum over twice
        as many inputs changes twice as much.
        """
        rate = self.recipe.learning_rate
        if "learning_rate" in self.asked:
            return rate
        rate *= math.sqrt(self.batch.effective / RECIPES[self.size, self.start].effective_batch)
        return rate * min(1.0, REFERENCE_WIDTH / self.width) if self.start == "nothing" else rate


_REASONS: dict[str, dict[str, str]] = {
    "epochs": dict(few="few images need many passes", some="a medium-sized dataset", many="many images, few passes"),
    "effective_batch": {**dict.fromkeys(("detector", "backbone"), "usual for DETRs"), "nothing": "more, smaller steps"},
    "learning_rate": {
        "detector": "a trained detector: small steps",
        "backbone": "new heads, pretrained backbone",
        "nothing": "random weights",
    },
    "backbone_lr": dict.fromkeys(("detector", "backbone"), "already pretrained"),
    "frozen_stages": {
        "nothing": "nothing is pretrained",
        "few": "few images: keep what is learnt",
        **dict.fromkeys(("some", "many"), "early features are generic"),
    },
    "ema": dict.fromkeys(("few", "some", "nothing"), "smooths out single steps"),
    "crop": {"nothing": "whole images are easier at first"},
    "colour": {"few": "few images, little variety"},
}
"""Why a setting has its value, by kind of starting weights or by size of the training set."""


class Row(NamedTuple):
    """A row of the table."""

    what: str
    value: str
    why: str


def recipe_rows(
    plan: TrainingPlan, resolution: tuple[int, int] | None, queries: int | None, is_ranking: bool = False
) -> list[Row]:
    """Return what will be done, and why.

    Args:
        plan: the fitted recipe.
        resolution: (long side, short side) in pixels. None if images keep their size.
        queries: number of queries. None for a detector without queries.
        is_ranking: whether the model has ranking losses.
    """
    recipe, interval = plan.recipe, plan.val_interval
    ranked = plan.batch.batch * (plan.batch.accumulation if recipe.joint_ranking else 1)
    parts = {"flip": recipe.flip, "crop": recipe.crop, "colour": recipe.colour, "mosaic": recipe.mosaic}
    augmentation = ", ".join(name for name, value in parts.items() if value)
    size = "original" if resolution is None else f"{resolution[0]} x {resolution[1]}"
    low, high = recipe.multi_scale
    is_longer = plan.epochs > recipe.epochs
    rows = [
        Row(
            "epochs",
            f"{plan.epochs}, {plan.epochs * plan.batch.updates} steps",
            f"at least {recipe.min_updates} steps" if is_longer else _why(plan, "epochs"),
        ),
        Row("batch", str(plan.batch), _why(plan, "effective_batch")),
        Row("ranking", f"among {min(ranked, plan.facts.num_images)} images", _why(plan, "joint_ranking")),
        Row("learning rate", f"{plan.learning_rate:.3g}, {recipe.schedule}", _why(plan, "learning_rate")),
        Row("backbone", _backbone(recipe), _why(plan, "backbone_lr", "layer_decay")),
        Row("frozen", _frozen(recipe.frozen_stages), _why(plan, "frozen_stages")),
        Row("image size", f"{size}, scaled by {low:g} to {high:g}", _why(plan, "resolution", "multi_scale")),
        Row("augmentation", augmentation or "none", _why(plan, "crop", "colour", "flip", "mosaic")),
        Row("queries", str(queries), f"at most {plan.facts.max_objects} objects per image"),
        Row("moving average", "yes" if recipe.ema else "no", _why(plan, "ema")),
        Row("evaluation", "every epoch" if interval == 1 else f"every {interval} epochs", ""),
        Row(
            "early stopping",
            f"after {recipe.patience} without a better AP" if recipe.patience else "no",
            _why(plan, "patience"),
        ),
    ]
    is_shown = {"queries": queries is not None, "ranking": is_ranking}
    return [row for row in rows if is_shown.get(row.what, True)]


def _why(plan: TrainingPlan, *settings: str) -> str:
    if plan.asked.intersection(settings):
        return "your setting"
    reasons = (_REASONS.get(setting, {}) for setting in settings)
    return next(filter(None, (reason.get(plan.start) or reason.get(plan.size) for reason in reasons)), "")


def _backbone(recipe: Recipe) -> str:
    if recipe.backbone_lr == 1 and recipe.layer_decay == 1:
        return "the same rate"
    decay = f", {recipe.layer_decay:g} per stage" if recipe.layer_decay < 1 else ""
    return f"{recipe.backbone_lr:g} times that{decay}"


def _frozen(stages: int) -> str:
    if stages <= 0:
        return "nothing" if stages < 0 else "stem"
    return f"stem, {stages} stage{'s' * (stages > 1)}"


def recipe_table(rows: Iterable[Row]) -> Table:
    """Return the rows as a table for a rich console."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*("recipe", "", "why"), box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
