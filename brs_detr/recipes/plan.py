"""A recipe fitted to the data at hand: batch, epochs and learning rate, and the table that explains them."""

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
"""Of the small model, on which the learning rate for random weights was found."""


@dataclass(frozen=True)
class BatchPlan:
    """How the images of an optimizer step get into memory.

    Args:
        batch: images that a process holds at a time; the losses see these together.
        accumulation: batches whose gradients are averaged for a step.
        processes: that train together.
        num_images: of the training set.
    """

    batch: int
    accumulation: int
    processes: int
    num_images: int

    @property
    def effective(self) -> int:
        """Images per optimizer step; all of a training set that is smaller."""
        return min(self.batch * self.accumulation * self.processes, self.num_images)

    @property
    def iterations(self) -> int:
        """Batches per epoch."""
        return math.ceil(math.ceil(self.num_images / self.processes) / self.batch)

    @property
    def updates(self) -> int:
        """Optimizer steps per epoch; the last one averages the batches that are left."""
        return math.ceil(self.iterations / self.accumulation)

    def __str__(self) -> str:
        parts = [str(self.batch)]
        parts += [f"{self.accumulation} accumulated"] * (self.accumulation > 1)
        parts += [f"{self.processes} processes"] * (self.processes > 1)
        return f"{self.effective} images" + (f": {' x '.join(parts)}" if len(parts) > 1 else "")


def plan_batch(batch: int, effective: int, processes: int, num_images: int, is_asked: bool = False) -> BatchPlan:
    """Reach an effective batch by accumulation.

    Args:
        batch: most images that a process shall hold at a time.
        effective: images per optimizer step, over all processes.
        processes: that train together.
        num_images: of the training set.
        is_asked: whether the user asked for `batch`, so that it stands even above `effective`.
    """
    share = max(1, effective // processes)
    batch = min(batch if is_asked else min(batch, share), max(1, math.ceil(num_images / processes)))
    return BatchPlan(batch, max(1, round(effective / (batch * processes))), processes, num_images)


@dataclass(frozen=True)
class TrainingFacts:
    """Number of training images, and most objects in an image of the training and validation splits."""

    num_images: int
    max_objects: int


def measure_facts(train: CocoSplit, others: Iterable[CocoSplit] = ()) -> TrainingFacts:
    """Count the images of `train`, and the objects per image of all splits; crowds are not counted."""
    datasets = [read_annotations(split.annotation_file) for split in (train, *others)]
    return TrainingFacts(len(datasets[0]["images"]), max(map(_max_objects, datasets)))


def _max_objects(dataset: dict[str, Any]) -> int:
    counts = Counter(box["image_id"] for box in dataset["annotations"] if not box.get("iscrowd"))
    return max(counts.values(), default=0)


@dataclass(frozen=True)
class TrainingPlan:
    """A recipe, and what it comes to with the data at hand.

    Args:
        recipe: with the settings that the user asked for.
        start: kind of the starting weights.
        facts: of the data.
        batch: of the processes at hand.
        asked: names of the settings that the user asked for.
        width: channels of the model's feature maps.
    """

    recipe: Recipe
    start: Start
    facts: TrainingFacts
    batch: BatchPlan
    asked: frozenset[str] = frozenset()
    width: int = REFERENCE_WIDTH

    @property
    def size(self) -> Size:
        """Of the training set."""
        return size_of(self.facts.num_images)

    @property
    def epochs(self) -> int:
        """Those of the recipe; more to reach `min_updates`, unless the user asked for a number."""
        if "epochs" in self.asked:
            return self.recipe.epochs
        return max(self.recipe.epochs, math.ceil(self.recipe.min_updates / self.batch.updates))

    @property
    def iterations(self) -> int:
        """Batches of the whole run."""
        return self.epochs * self.batch.iterations

    @property
    def val_interval(self) -> int:
        """Epochs from one evaluation to the next."""
        return max(1, round(self.epochs / self.recipe.evaluations))

    @property
    def learning_rate(self) -> float:
        """Of AdamW: what the user asked for, or that of the recipe, scaled to the batch and the width of the model.

        Adam divides a gradient by its own size, so that noise alone sets how far a step may go: it falls with the
        square root of the batch (Malladi et al., On the SDEs and Scaling Rules for Adaptive Gradient Algorithms, 2022).
        From random weights a wide model takes smaller steps: the sum over twice as many inputs moves twice as far.
        """
        rate = self.recipe.learning_rate
        if "learning_rate" in self.asked:
            return rate
        rate *= math.sqrt(self.batch.effective / RECIPES[self.size, self.start].effective_batch)
        return rate * min(1.0, REFERENCE_WIDTH / self.width) if self.start == "nothing" else rate


_REASONS: dict[str, dict[str, str]] = {
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
"""Why a setting has its value, by kind of starting weights or by size of the training set."""


class Row(NamedTuple):
    """A line of the table."""

    what: str
    value: str
    why: str


def recipe_rows(
    plan: TrainingPlan, resolution: tuple[int, int] | None, queries: int | None, is_ranking: bool = False
) -> list[Row]:
    """What will be done, and why.

    Args:
        plan: what was decided.
        resolution: (long side, short side) in pixels; None where images keep their size.
        queries: of the model; None for a detector without queries.
        is_ranking: whether the model has ranking losses.
    """
    recipe, interval = plan.recipe, plan.val_interval
    ranked = plan.batch.batch * (plan.batch.accumulation if recipe.joint_ranking else 1)
    parts = {"flip": recipe.flip, "crop": recipe.crop, "colour": recipe.colour, "mosaic": recipe.mosaic}
    augmentation = ", ".join(name for name, value in parts.items() if value)
    size = "as they are" if resolution is None else f"{resolution[0]} x {resolution[1]}"
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
        Row("image size", f"{size}, {low:g} to {high:g} of it", _why(plan, "resolution", "multi_scale")),
        Row("augmentation", augmentation or "none", _why(plan, "crop", "colour", "flip", "mosaic")),
        Row("queries", str(queries), f"at most {plan.facts.max_objects} objects an image"),
        Row("moving mean", "yes" if recipe.ema else "no", _why(plan, "ema")),
        Row("evaluation", "every epoch" if interval == 1 else f"every {interval} epochs", ""),
        Row(
            "early stop",
            f"after {recipe.patience} without a better AP" if recipe.patience else "no",
            _why(plan, "patience"),
        ),
    ]
    is_shown = {"queries": queries is not None, "ranking": is_ranking}
    return [row for row in rows if is_shown.get(row.what, True)]


def _why(plan: TrainingPlan, *settings: str) -> str:
    if plan.asked.intersection(settings):
        return "as you asked"
    reasons = (_REASONS.get(setting, {}) for setting in settings)
    return next(filter(None, (reason.get(plan.start) or reason.get(plan.size) for reason in reasons)), "")


def _backbone(recipe: Recipe) -> str:
    if recipe.backbone_lr == 1 and recipe.layer_decay == 1:
        return "the same"
    decay = f", {recipe.layer_decay:g} a stage" if recipe.layer_decay < 1 else ""
    return f"{recipe.backbone_lr:g} of that{decay}"


def _frozen(stages: int) -> str:
    if stages <= 0:
        return "nothing" if stages < 0 else "stem"
    return f"stem, {stages} stage{'s' * (stages > 1)}"


def recipe_table(rows: Iterable[Row]) -> Table:
    """The rows for a rich console."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*("recipe", "", "why"), box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
