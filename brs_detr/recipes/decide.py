"""Decide how to fine-tune: choose a recipe, and find a batch size that fits into memory."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from brs_detr.checkpoints.weights_file import Start
from brs_detr.config.config import apply_overrides
from brs_detr.errors import UserError
from brs_detr.recipes.apply_recipe import apply_recipe, resolution_for, stage_names
from brs_detr.recipes.plan import REFERENCE_WIDTH, TrainingFacts, TrainingPlan, plan_batch
from brs_detr.recipes.recipe import RECIPES, change_recipe, size_of
from brs_detr.run.distributed import num_processes

if TYPE_CHECKING:
    import torch
    from mmengine import Config

USED_SHARE = 0.9
"""Fraction of the memory that a batch may use. The rest is for fragmentation and images with more objects."""
_CPU_BATCH = 4
_UNKNOWN_SIZE = (640, 640)


def decide(
    config: Config,
    start: Start,
    facts: TrainingFacts,
    *,
    batch: int | Literal["auto"] | None = None,
    settings: Mapping[str, Any],
    assignments: tuple[str, ...] = (),
    amp: bool = False,
    resumed: Mapping[str, Any] | None = None,
) -> TrainingPlan:
    """Choose the recipe and the batch size for a detector and a dataset.

    Args:
        config: config of the detector with its dataset, not changed.
        start: kind of the starting weights.
        facts: facts about the training data.
        batch: number of images per process, `auto` for as many as fit, or None for that of the config.
        settings: settings of the recipe that the user asked for.
        assignments: `key=value` assignments to the config, needed for the trial steps of `auto`.
        amp: whether the forward pass runs in bfloat16.
        resumed: the decisions in the `run.json` of the run that is resumed.

    Raises:
        UserError: a setting cannot be used, or not even one image fits.
    """
    recipe, asked = RECIPES[size_of(facts.num_images), start], set(settings)
    if resumed is not None:
        recipe = change_recipe(recipe, resumed["recipe"])
        asked |= set(resumed["asked"])
        batch = batch or int(resumed["batch"])
    recipe = change_recipe(recipe, settings)
    backbone = config.model.backbone
    if not stage_names(backbone):
        for setting in sorted({"frozen_stages", "layer_decay"} & asked):
            raise UserError(f"{setting} does not work with {backbone['type']}: the names of its stages are not known.")
        recipe = replace(recipe, frozen_stages=-1, layer_decay=1.0)
    width = (config.model.get("neck") or {}).get("out_channels", REFERENCE_WIDTH)

    def plan_for(batch: int, is_asked: bool = False) -> TrainingPlan:
        planned = plan_batch(batch, recipe.effective_batch, num_processes(), facts.num_images, is_asked)
        return TrainingPlan(recipe, start, facts, planned, frozenset(asked), width)

    if batch == "auto":
        return plan_for(_largest_batch(config, plan_for(1), assignments, amp), is_asked=resumed is not None)
    return plan_for(batch or config.train_dataloader.batch_size, is_asked=batch is not None)


def _largest_batch(config: Config, plan: TrainingPlan, assignments: tuple[str, ...], amp: bool) -> int:
    """Return the largest batch size that fits on the GPU of every process."""
    import torch
    from mmengine.dist import all_reduce

    if not torch.cuda.is_available():
        return _CPU_BATCH
    limit = max(1, min(plan.recipe.effective_batch // num_processes(), plan.facts.num_images))
    trial_config = copy.deepcopy(config)
    apply_recipe(trial_config, replace(plan, batch=plan_batch(1, 1, 1, plan.facts.num_images)))
    apply_overrides(trial_config._cfg_dict, assignments)
    if amp:
        trial_config.optim_wrapper.type = "AutocastOptimWrapper"
    long, short = resolution_for(config, plan.recipe) or _UNKNOWN_SIZE
    device = torch.device("cuda", torch.cuda.current_device())
    trial = TrialStep(trial_config, (short, long), max(1, plan.facts.max_objects), device, plan.recipe.ema)
    largest = largest_batch(trial, limit)
    if num_processes() > 1:
        smallest = torch.tensor(largest, device=device)
        all_reduce(smallest, "min")
        return int(smallest)
    return largest


def largest_batch(fits: Callable[[int], bool], limit: int) -> int:
    """Double the batch size as long as a batch fits.

    Args:
        fits: tries a training step with this many images.
        limit: largest useful batch size, at least 1.

    Raises:
        UserError: not even a single image fits.
    """
    if not fits(1):
        raise UserError(
            "Not even one image of the training size fits into memory.",
            "Choose a smaller --model or --resolution, or add --amp.",
        )
    batch = 1
    while batch < limit and fits(min(2 * batch, limit)):
        batch = min(2 * batch, limit)
    return batch


class TrialStep:
    """Try training steps on synthetic images of the largest size.

    Args:
        config: resolved config, whose model is built with random weights.
        size: (h, w) of the images in pixels.
        num_objects: number of objects per image.
        device: device to train on.
        has_ema: whether memory also holds a moving average of the weights.
    """

    def __init__(
        self, config: Config, size: tuple[int, int], num_objects: int, device: torch.device, has_ema: bool = False
    ) -> None:
        from mmengine.optim import build_optim_wrapper
        from mmengine.registry import MODELS, init_default_scope

        init_default_scope(config.get("default_scope", "mmdet"))
        model = {**config.model, "backbone": {**config.model.backbone, "init_cfg": None}}
        self.model = MODELS.build(model).to(device).train()
        self.optim_wrapper = build_optim_wrapper(self.model, config.optim_wrapper)
        self.ema = copy.deepcopy(self.model) if has_ema else None
        self.size, self.num_objects, self.device = size, num_objects, device

    def __call__(self, batch: int) -> bool:
        """Return whether a step with this many images fits."""
        import torch

        try:
            self.model.train_step(self._images(batch), self.optim_wrapper)
            return self._used_share() <= USED_SHARE
        except torch.OutOfMemoryError:
            return False
        finally:
            self.optim_wrapper.zero_grad()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _images(self, batch: int) -> dict[str, list[Any]]:
        import torch
        from mmdet.structures import DetDataSample
        from mmengine.structures import InstanceData

        height, width = self.size
        centres = torch.rand(self.num_objects, 2) * torch.tensor([width, height]) * 0.8
        boxes_xyxy = torch.cat([centres, centres + torch.tensor([width, height]) * 0.2], 1)
        objects = InstanceData(bboxes=boxes_xyxy, labels=torch.zeros(self.num_objects, dtype=torch.long))
        meta = {"img_shape": self.size, "ori_shape": self.size, "scale_factor": (1.0, 1.0), "pad_shape": self.size}
        return {
            "inputs": [torch.zeros(3, height, width, dtype=torch.uint8) for _ in range(batch)],
            "data_samples": [DetDataSample(metainfo=dict(meta), gt_instances=objects) for _ in range(batch)],
        }

    def _used_share(self) -> float:
        import torch

        if self.device.type != "cuda":
            return 0.0
        used = torch.cuda.max_memory_reserved(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return used / torch.cuda.get_device_properties(self.device).total_memory
