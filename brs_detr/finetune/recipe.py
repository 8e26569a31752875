"""What fine-tuning does, chosen by the number of images and by what the training starts from: a table, and no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from brs_detr.checkpoints.weights_file import Start
from brs_detr.errors import UserError, did_you_mean

Size = Literal["few", "some", "many"]
"""Of a training set: fewer than 500 images, fewer than 5,000, more."""

LIMITS: dict[Size, float] = {"few": 500, "some": 5000, "many": float("inf")}


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Args:
        epochs: passes over the training images.
        min_updates: train for more epochs where so many steps of the optimizer would not be reached.
        effective_batch: images a step of the optimizer, over all processes and accumulated batches.
        learning_rate: of AdamW at that batch; it is scaled where the batch is another one.
        schedule: `cosine`, or `step`: divided by 5 after 10/12 and after 11/12 of the epochs.
        warmup: share of the iterations in which the learning rate rises to its value.
        backbone_lr: learning rate of the backbone as a multiple of the others.
        layer_decay: each stage of the backbone learns slower than the next one by this factor; 1 for all alike.
        frozen_stages: stages of the backbone that stay as they are; 0 is the stem alone, -1 nothing.
        ema: evaluate and keep a moving mean of the weights.
        evaluations: how often the validation images are evaluated, spread over the run.
        patience: stop when so many evaluations in a row are not better than the best; 0 never stops.
        resolution: (long side, short side) in pixels that images are resized into; None for that of the model's config.
        multi_scale: range of the sizes that images are trained in, as shares of the resolution.
        flip: probability that an image is mirrored left to right.
        crop: probability that a part of an image is cut out, at least half as wide and half as high.
        colour: shift hue, saturation and brightness a little.
        mosaic: put four images into one, half of the time.
        plain_epochs: share of the epochs, at the end, without mosaic.
        queries: objects that can be found in an image; None for as many as the data ask for.
        joint_ranking: let ranking losses compare the images of all batches that are accumulated for a step.

    Raises:
        UserError: a value is out of its range.
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
        for name, (is_right, belongs) in _RANGES.items():
            value = getattr(self, name)
            if not is_right(value):
                raise UserError(f"{name}={value!r} cannot be used.", f"It is {belongs}.")


def _is_share(value: float) -> bool:
    return 0 <= value <= 1


def _is_range(pair: tuple[float, float]) -> bool:
    return len(pair) == 2 and 0 < pair[0] <= pair[1]


_COUNT = (lambda value: value >= 1, "at least 1")
_SHARE = (_is_share, "a share between 0 and 1")
_RANGES: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("epochs", "effective_batch", "evaluations"), _COUNT),
    **dict.fromkeys(("warmup", "flip", "crop", "plain_epochs"), _SHARE),
    **dict.fromkeys(("min_updates", "patience"), (lambda value: value >= 0, "0 or more")),
    **dict.fromkeys(("learning_rate", "backbone_lr"), (lambda value: value > 0, "above 0")),
    "layer_decay": (lambda value: 0 < value <= 1, "above 0, and at most 1"),
    "frozen_stages": (lambda value: -1 <= value <= 4, "from -1, nothing, to 4, the whole backbone"),
    "schedule": (lambda value: value in ("cosine", "step"), "cosine or step"),
    "queries": (lambda value: value is None or value >= 1, "at least 1, or None"),
    "multi_scale": (_is_range, "two shares such as (0.6, 1.0), the smaller one first"),
    "resolution": (
        lambda value: value is None or (_is_range(value[::-1]) and value[1] >= 32),
        "two numbers of pixels such as (1333, 800), the long side first, neither below 32",
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
    """Which of the sizes a training set of so many images has."""
    return next(size for size, limit in LIMITS.items() if num_images < limit)


def change_recipe(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Give settings of a recipe other values.

    Args:
        recipe: it is not changed.
        changes: values by name of the setting.

    Raises:
        UserError: there is no such setting, or the value is of another kind or out of its range.
    """
    known = {field.name: field.type for field in fields(Recipe)}
    for name, value in changes.items():
        if name not in known:
            raise UserError(f"The recipe has no setting {name}.", did_you_mean(name, known))
        _require_kind(name, value, known[name])
    return replace(recipe, **{name: _plain(value) for name, value in changes.items()})


def read_recipe(values: Mapping[str, Any]) -> Recipe:
    """The recipe that was written to JSON as a dictionary, where tuples have become lists."""
    return Recipe(**{name: _plain(value) for name, value in values.items()})


def _require_kind(name: str, value: Any, annotation: Any) -> None:
    kinds = {"int": (int,), "float": (int, float), "bool": (bool,), "tuple": (tuple, list)}
    kind = next((kind for kind in kinds if str(annotation).startswith(kind)), None)
    if kind is None or (value is None and "None" in str(annotation)):
        return
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "bool"):
        what = {"int": "a whole number", "float": "a number", "bool": "True or False", "tuple": "a pair"}[kind]
        raise UserError(
            f"{name}={value!r} cannot be used.", f"It is {what}, such as {getattr(RECIPES['few', 'detector'], name)!r}."
        )


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
