"""The pipeline of transforms of a training image, made from a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brs_detr.finetune.recipe import Recipe

Transform = dict[str, Any]
_NUM_SCALES = 6


def resolution_of(pipeline: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """(long side, short side) that a test pipeline resizes images into; None where it does not."""
    resize = next((step for step in pipeline if step["type"] == "Resize"), None)
    scale = resize.get("scale") if resize else None
    return (max(scale), min(scale)) if scale else None


def set_resolution(pipeline: Sequence[dict[str, Any]], resolution: tuple[int, int]) -> None:
    """Make a test pipeline resize images into (long side, short side), in place."""
    for step in pipeline:
        if step["type"] == "Resize":
            step.pop("scale_factor", None)
            step.update(scale=tuple(resolution), keep_ratio=True)


def loading_steps(pipeline: Sequence[Mapping[str, Any]]) -> list[Transform]:
    """The first part of a train pipeline: image and annotations."""
    return [dict(step) for step in pipeline if str(step["type"]).startswith("Load")]


def changing_steps(recipe: Recipe, resolution: tuple[int, int] | None) -> list[Transform]:
    """What comes after loading: colour, flip, crop, size, packing."""
    steps: list[Transform] = []
    if recipe.colour:
        steps.append({"type": "YOLOXHSVRandomAug"})
    if recipe.flip:
        steps.append({"type": "RandomFlip", "prob": recipe.flip})
    if recipe.crop:
        crop = dict(type="RandomCrop", crop_type="relative_range", crop_size=(0.5, 0.5), allow_negative_crop=True)
        steps.append({"type": "RandomApply", "transforms": [crop], "prob": recipe.crop})
    return [*steps, _resize(recipe, resolution), {"type": "PackDetInputs"}]


def mosaic_step(resolution: tuple[int, int] | None) -> Transform:
    """Four images in one, half of the time; each is resized into the resolution first."""
    return {"type": "Mosaic", "img_scale": resolution or (640, 640), "pad_val": 114.0, "prob": 0.5}


def _resize(recipe: Recipe, resolution: tuple[int, int] | None) -> Transform:
    """Resize to one of several sizes; where the model takes images as they are, by one of several factors."""
    low, high = recipe.multi_scale
    shares = dict.fromkeys(round(low + (high - low) * step / (_NUM_SCALES - 1), 3) for step in range(_NUM_SCALES))
    if resolution is None:
        choices: list[Transform] = [{"type": "Resize", "scale_factor": share} for share in shares]
    else:
        choices = [{"type": "Resize", "scale": scale, "keep_ratio": True} for scale in _scales(resolution, shares)]
    return {"type": "RandomChoice", "transforms": [[choice] for choice in choices]}


def _scales(resolution: tuple[int, int], shares: Mapping[float, Any]) -> list[tuple[int, int]]:
    """(long side, short side) of each share: as in DETR the short side varies, the long one is a limit."""
    long, short = resolution
    sides = dict.fromkeys(max(1, round(short * share)) for share in shares)
    return [(max(long, side), side) for side in sides]
