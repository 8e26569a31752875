"""What a fine-tuning does between the finding of the data and the training."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from brs_detr.checkpoints.class_layers import find_class_layers, shared_classes
from brs_detr.checkpoints.load_table import load_table, remade_layers
from brs_detr.checkpoints.load_weights import ClassChange, LoadAccount, load_weights
from brs_detr.checkpoints.starting_weights import StartingWeights
from brs_detr.config.folder_data import inner_dataset, split_of
from brs_detr.config.overrides import apply_overrides
from brs_detr.errors import UserError
from brs_detr.finetune.apply_recipe import apply_recipe, needed_queries, ranking_heads, resolution_for
from brs_detr.finetune.backbone_stages import stage_names
from brs_detr.finetune.batch_plan import plan_batch
from brs_detr.finetune.batch_search import TrialStep, largest_batch
from brs_detr.finetune.recipe import RECIPES, Recipe, change_recipe, read_recipe, size_of
from brs_detr.finetune.recipe_table import recipe_rows, recipe_table
from brs_detr.finetune.training_facts import TrainingFacts, measure_facts
from brs_detr.finetune.tuning import TUNED_WIDTH, Tuning
from brs_detr.run.distributed import num_processes
from brs_detr.training.train import Preparation

if TYPE_CHECKING:
    import torch
    from mmengine import Config
    from rich.table import Table

    from brs_detr.training.quiet_runner import QuietRunner

TUNING = "tuning"
"""Key of what was decided in `run.json`."""

_FILE_WIDTH = 160
_CPU_BATCH = 4
_UNKNOWN_SIZE = (640, 640)


@dataclass
class Tuner(Preparation):
    """Chooses a recipe and writes it into the config, then loads the weights.

    Args:
        weights: to start from.
        batch: images that a process holds at a time, `auto`, or None for what the config says.
        settings: of the recipe, as the user asked for.
        assignments: `key=value` for the config, stronger than the recipe.
        amp: whether the forward pass runs in bfloat16.
        console: where to print.
        resumed: what was decided for the run that is resumed, as `facts` wrote it down.
    """

    weights: StartingWeights
    batch: int | Literal["auto"] | None
    settings: Mapping[str, Any]
    assignments: tuple[str, ...]
    amp: bool
    console: Console
    resumed: Mapping[str, Any] | None = None
    record: dict[str, Any] = field(default_factory=dict)

    def prepare_config(self, config: Config) -> None:
        """Choose the recipe, print it, and write it into the config."""
        train, val = split_of(config, "train"), split_of(config, "val")
        tuning = self._decide(config, measure_facts(train, [val]))
        self._print(tuning, config)
        apply_recipe(config, tuning)
        apply_overrides(config._cfg_dict, self.assignments)
        self.record = {
            "weights": self.weights.source,
            "start": tuning.start,
            "recipe": asdict(tuning.recipe),
            "asked": sorted(tuning.asked),
            "batch": tuning.plan.batch,
            "effective_batch": tuning.plan.effective,
            "learning_rate": tuning.learning_rate,
        }

    def prepare_runner(self, runner: QuietRunner) -> None:
        """Load the weights into the model and print what came of it."""
        weights = self.weights.weights
        if weights is None:
            return
        runner.initialise_model()
        class_names = tuple(inner_dataset(runner.cfg, "train").metainfo["classes"])
        layers = find_class_layers(runner.cfg.model) if weights.start == "detector" else {}
        classes = ClassChange(layers, class_names, weights.class_names)
        account = load_weights(runner.bare_model, weights.state_dict, classes, weights.source)
        self._print_account(account, classes)

    def facts(self) -> dict[str, Any]:
        """Weights, recipe and batch."""
        return {TUNING: self.record}

    def _decide(self, config: Config, facts: TrainingFacts) -> Tuning:
        recipe, asked = RECIPES[size_of(facts.num_images), self.weights.start], set(self.settings)
        if self.resumed is not None:
            recipe = read_recipe(self.resumed["recipe"])
            asked |= set(self.resumed["asked"])
        recipe = _fitted(change_recipe(recipe, self.settings), config.model.backbone, asked)
        batch = self._batch(config, recipe, facts)
        is_asked = isinstance(self.batch, int) or self.resumed is not None
        plan = plan_batch(batch, recipe.effective_batch, num_processes(), facts.num_images, is_asked)
        width = (config.model.get("neck") or {}).get("out_channels", TUNED_WIDTH)
        return Tuning(recipe, self.weights.start, facts, plan, frozenset(asked), width)

    def _batch(self, config: Config, recipe: Recipe, facts: TrainingFacts) -> int:
        if self.batch is None and self.resumed is not None:
            return int(self.resumed["batch"])
        if self.batch == "auto":
            return self._largest_batch(config, recipe, facts)
        return self.batch or config.train_dataloader.batch_size

    def _largest_batch(self, config: Config, recipe: Recipe, facts: TrainingFacts) -> int:
        """What fits into the GPUs of all processes."""
        import torch

        if not torch.cuda.is_available():
            return _CPU_BATCH
        limit = max(1, min(recipe.effective_batch // num_processes(), facts.num_images))
        trial_config = copy.deepcopy(config)
        plan = plan_batch(1, 1, 1, facts.num_images)
        apply_recipe(trial_config, Tuning(recipe, self.weights.start, facts, plan))
        apply_overrides(trial_config._cfg_dict, self.assignments)
        if self.amp:
            trial_config.optim_wrapper.type = "AutocastOptimWrapper"
        long, short = resolution_for(config, recipe) or _UNKNOWN_SIZE
        device = torch.device("cuda", torch.cuda.current_device())
        trial = TrialStep(trial_config, (short, long), max(1, facts.max_objects), device, recipe.ema)
        return _smallest(largest_batch(trial, limit), device)

    def _print(self, tuning: Tuning, config: Config) -> None:
        resolution, queries = resolution_for(config, tuning.recipe), needed_queries(config, tuning)
        rows = recipe_rows(tuning, resolution, queries, is_ranking=bool(ranking_heads(config.model)))
        self.console.print(f"Weights: {self.weights.source}", markup=False)
        self._print_table(recipe_table(rows))
        if queries is not None and queries < tuning.facts.max_objects:
            self.console.print(
                f"One image has {tuning.facts.max_objects} objects, more than the {queries} queries can find. "
                f"Add --queries {tuning.facts.max_objects}.",
                markup=False,
            )

    def _print_account(self, account: LoadAccount, classes: ClassChange) -> None:
        self._print_table(load_table(account))
        if account.remade:
            self.console.print(f"Re-made: {', '.join(remade_layers(account))}", markup=False)
        known = [classes.new_names[new] for _, new in shared_classes(classes.old_names, classes.new_names)]
        if known and not classes.layers.keys().isdisjoint(account.remade):
            self.console.print(f"What was learnt of these classes is kept: {', '.join(known)}", markup=False)

    def _print_table(self, table: Table) -> None:
        """Print it; a file or a pipe has no width of its own."""
        width = self.console.width
        if not self.console.is_terminal:
            self.console.width = max(width, _FILE_WIDTH)
        self.console.print(table)
        self.console.width = width


def _fitted(recipe: Recipe, backbone: Mapping[str, Any], asked: Collection[str]) -> Recipe:
    """A recipe without what a backbone of unknown stages cannot do."""
    if stage_names(backbone):
        return recipe
    for setting in ("frozen_stages", "layer_decay"):
        if setting in asked:
            raise UserError(f"{setting} does not work with a {backbone['type']}: its stages have no known names.")
    return replace(recipe, frozen_stages=-1, layer_decay=1.0)


def _smallest(number: int, device: torch.device) -> int:
    """The smallest of the numbers of all processes."""
    import torch
    from mmengine.dist import all_reduce

    if num_processes() == 1:
        return number
    numbers = torch.tensor(number, device=device)
    all_reduce(numbers, "min")
    return int(numbers)
