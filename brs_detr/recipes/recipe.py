"""Settings for fine-tuning: their valid ranges, and their values by number of images and starting weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from brs_detr.checkpoints.weights_file import Start
from brs_detr.config.config import parse_value
from brs_detr.errors import UserError, did_you_mean

Size = Literal["few", "some", "many"]
"""Size class of a training set: fewer than 500 images, fewer than 5,000, or more."""


@dataclass(frozen=True)
class Recipe:
    """Settings for fine-tuning.

    Args:
        epochs: passes over the training images.
        min_updates: minimum number of optimizer steps. Epochs are added to reach it.
        effective_batch: images per optimizer step, over all processes and accumulated batches.
        learning_rate: learning rate of AdamW for `effective_batch` images. It is scaled to the actual batch.
        schedule: `cosine`, or `step`, which divides by 5 after 10/12 and after 11/12 of the epochs.
        warmup: fraction of the iterations over which the learning rate rises to its value.
        backbone_lr: learning rate of the backbone as a multiple of `learning_rate`.
        layer_decay: ratio of the learning rates of a backbone stage and the next one; 1 for no decay.
        frozen_stages: number of backbone stages that are not trained; 0 freezes only the stem, -1 nothing.
        ema: evaluate and keep an exponential moving average of the weights.
        evaluations: number of evaluations on the validation images, spread over the run.
        patience: stop after this many evaluations in a row without a better AP; 0 never stops.
        resolution: (long side, short side) in pixels that images are resized to fit. None for that of the config.
        multi_scale: range of image sizes in training, as fractions of the resolution.
        flip: probability of a horizontal flip.
        crop: probability of a random crop of at least half the width and height.
        colour: jitter hue, saturation and brightness.
        mosaic: combine four images into one, half of the time.
        plain_epochs: fraction of the epochs, at the end, that are trained without mosaic.
        queries: most objects that can be found per image. None for a number that suits the data.
        joint_ranking: let ranking losses compare all images of a step, over the accumulated batches.

    Raises:
        UserError: a value has the wrong type or is out of range.
    """

    epochs: int
    min_updates: int = 300
    effective_batch: int = 16
    learning_rate: float = 1e-4
    schedule: Literal["cosine", "step"] = "cosine"
    warmup: float = 0.05
    backbone_lr: float = 0.1
    layer_decay: float = 1.0
    frozen_stages: int = 1
    ema: bool = False
    evaluations: int = 25
    patience: int = 10
    resolution: tuple[int, int] | None = None
    multi_scale: tuple[float, float] = (0.6, 1.0)
    flip: float = 0.5
    crop: float = 0.5
    colour: bool = False
    mosaic: bool = False
    plain_epochs: float = 0.2
    queries: int | None = None
    joint_ranking: bool = True

    def __post_init__(self) -> None:
        for name, (is_valid, description) in _RULES.items():
            value = getattr(self, name)
            if not is_valid(value):
                raise UserError(f"{name}={value!r} cannot be used.", f"It must be {description}.")


def _whole(low: int, high: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and value > 0


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_range(pair: Any) -> bool:
    return type(pair) is tuple and len(pair) == 2 and all(map(_is_positive, pair)) and pair[0] <= pair[1]


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("epochs", "effective_batch", "evaluations"), (_whole(1), "a whole number, at least 1")),
    **dict.fromkeys(("min_updates", "patience"), (_whole(0), "a whole number, 0 or more")),
    **dict.fromkeys(("warmup", "flip", "crop", "plain_epochs"), (_is_share, "a number between 0 and 1")),
    **dict.fromkeys(("learning_rate", "backbone_lr"), (_is_positive, "a number above 0")),
    **dict.fromkeys(("ema", "colour", "mosaic", "joint_ranking"), (lambda value: type(value) is bool, "True or False")),
    "layer_decay": (lambda value: _is_positive(value) and value <= 1, "a number above 0 and at most 1"),
    "frozen_stages": (_whole(-1, 4), "a whole number from -1, nothing, to 4, the whole backbone"),
    "schedule": (lambda value: value in ("cosine", "step"), "cosine or step"),
    "queries": (lambda value: value is None or _whole(1)(value), "a whole number, at least 1, or None"),
    "multi_scale": (_is_range, "a pair of fractions such as (0.6, 1.0), the smaller one first"),
    "resolution": (
        lambda value: value is None or (type(value) is tuple and _is_range(value[::-1]) and value[1] >= 32),
        "a pair of sides in pixels such as (1333, 800), the long one first, neither below 32",
    ),
}

_FEW = Recipe(epochs=50, layer_decay=0.8, frozen_stages=2, ema=True, colour=True)
_SOME = Recipe(epochs=24, layer_decay=0.9, ema=True, evaluations=24, patience=8, colour=True)
_MANY = Recipe(epochs=12, evaluations=12, patience=5)
_FROM_BACKBONE: dict[str, Any] = dict(learning_rate=2e-4, min_updates=1000)
_FROM_NOTHING: dict[str, Any] = dict(
    min_updates=1000, learning_rate=1e-3, backbone_lr=1.0, layer_decay=1.0, frozen_stages=-1, ema=True
)

RECIPES: dict[tuple[Size, Start], Recipe] = {
    ("few", "detector"): _FEW,
    ("some", "detector"): _SOME,
    ("many", "detector"): _MANY,
    ("few", "backbone"): replace(_FEW, epochs=75, **_FROM_BACKBONE),
    ("some", "backbone"): replace(_SOME, epochs=36, **_FROM_BACKBONE),
    ("many", "backbone"): replace(_MANY, epochs=24, **_FROM_BACKBONE),
    ("few", "nothing"): replace(_FEW, effective_batch=4, multi_scale=(0.8, 1.0), crop=0.0, **_FROM_NOTHING),
    ("some", "nothing"): replace(_SOME, epochs=50, effective_batch=4, multi_scale=(0.8, 1.0), **_FROM_NOTHING),
    ("many", "nothing"): replace(_MANY, epochs=36, **_FROM_NOTHING),
}


def size_of(num_images: int) -> Size:
    """Return the size class of a training set."""
    return "few" if num_images < 500 else "some" if num_images < 5000 else "many"


def change_recipe(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return a copy of a recipe with some settings changed. Lists, as in JSON, stand for tuples.

    Raises:
        UserError: there is no such setting, or a value has the wrong type or is out of range.
    """
    known = [field.name for field in fields(Recipe)]
    for name in changes:
        if name not in known:
            raise UserError(f"The recipe has no setting {name}.", did_you_mean(name, known))
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()
    }
    return replace(recipe, **values)


_INSTEAD_OF_KEY = {
    "train_cfg.max_epochs": "--epochs N",
    "train_cfg.val_interval": "--set evaluations=N",
    "train_dataloader.batch_size": "--batch N",
    "train_dataloader.dataset.pipeline": "--set flip=0, crop, colour, multi_scale or mosaic",
    "optim_wrapper.accumulative_counts": "--batch N and --effective-batch N",
    "optim_wrapper.optimizer.lr": "--lr X",
    "optim_wrapper.paramwise_cfg.custom_keys.backbone": "--set backbone_lr=X and layer_decay=X",
    "param_scheduler": "--set schedule=cosine or step, and warmup=X",
    "model.backbone.frozen_stages": "--freeze N",
}
"""Config keys that the recipe sets, and the options that change them."""


def split_assignments(assignments: Iterable[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Separate `key=value` assignments of recipe settings, whose names have no dot, from those of config keys.

    Returns:
        The values of settings by name, and the assignments of config keys.

    Raises:
        UserError: there is no such setting, or the recipe sets the config key. The hint names what to use instead.
    """
    settings: dict[str, Any] = {}
    others = []
    names = [field.name for field in fields(Recipe)]
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        key = key.strip()
        if separator and key in names:
            settings[key] = parse_value(text.strip())
            continue
        if separator and "." not in key:
            raise UserError(f"--set {key}: the recipe has no such setting.", did_you_mean(key, names))
        for taken, instead in _INSTEAD_OF_KEY.items():
            if key == taken or key.startswith(f"{taken}."):
                raise UserError(f"--set {key}: the recipe sets it.", f"Use {instead}.")
        others.append(assignment)
    return settings, tuple(others)
