"""What was decided for a fine-tuning."""

from __future__ import annotations

import math
from dataclasses import dataclass

from brs_detr.checkpoints.weights_file import Start
from brs_detr.finetune.batch_plan import BatchPlan, scaled_learning_rate
from brs_detr.finetune.recipe import RECIPES, Recipe, Size, size_of
from brs_detr.finetune.training_facts import TrainingFacts

TUNED_WIDTH = 128
"""Of the small model, with which the learning rate for random weights was found."""


@dataclass(frozen=True)
class Tuning:
    """A recipe, and what it comes to with the data at hand.

    Args:
        recipe: with what the user asked for.
        start: which weights there are.
        facts: of the data.
        plan: of the batches.
        asked: settings that the user asked for.
        width: channels of the model's maps.
    """

    recipe: Recipe
    start: Start
    facts: TrainingFacts
    plan: BatchPlan
    asked: frozenset[str] = frozenset()
    width: int = TUNED_WIDTH

    @property
    def size(self) -> Size:
        """Of the training set."""
        return size_of(self.facts.num_images)

    @property
    def epochs(self) -> int:
        """Those of the recipe; more where they have too few steps of the optimizer, unless the user asked for them."""
        if "epochs" in self.asked:
            return self.recipe.epochs
        return max(self.recipe.epochs, math.ceil(self.recipe.min_updates / self.plan.updates))

    @property
    def iterations(self) -> int:
        """Batches of the whole run."""
        return self.epochs * self.plan.iterations

    @property
    def val_interval(self) -> int:
        """Epochs from one evaluation to the next."""
        return max(1, round(self.epochs / self.recipe.evaluations))

    @property
    def learning_rate(self) -> float:
        """Of AdamW: what the user asked for, or that of the recipe, scaled to the batch at hand.

        From random weights a wide model takes smaller steps: the sum over twice as many inputs moves twice as far.
        """
        if "learning_rate" in self.asked:
            return self.recipe.learning_rate
        tuned_for = RECIPES[self.size, self.start].effective_batch
        rate = scaled_learning_rate(self.recipe.learning_rate, tuned_for, self.plan.effective)
        return rate * min(1.0, TUNED_WIDTH / self.width) if self.start == "nothing" else rate
