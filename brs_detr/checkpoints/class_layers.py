"""The layers of a detector whose size is the number of classes, and which of their rows belong to which class."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_STAND_IN = dict(type="ResNet", depth=18, out_indices=(1, 2, 3))


@dataclass(frozen=True)
class ClassLayer:
    """Rows of a weight or bias: `rows` of them a class, in the order of the labels, then `extra` ones.

    Args:
        rows: 1 for logits, 4 for boxes of each class.
        extra: 1 for the background of a softmax.
        is_by_class: false for a dense head with several anchors a place, whose rows go by anchor first.
    """

    rows: int
    extra: int = 0
    is_by_class: bool = True


def find_class_layers(model_config: Mapping[str, Any]) -> dict[str, ClassLayer]:
    """Find them by building a model twice, for 2 and for 3 classes; its weights take no memory.

    Args:
        model_config: with `num_classes` wherever it has an effect.

    Returns:
        By name of the parameter.
    """
    two, three = (_shapes(model_config, num_classes) for num_classes in (2, 3))
    layers = {}
    for name, shape in two.items():
        rows = three[name][0] - shape[0] if shape != three[name] else 0
        is_convolution = len(two[f"{name.rpartition('.')[0]}.weight"]) == 4 if rows else False
        if rows:
            layers[name] = ClassLayer(rows, shape[0] - 2 * rows, is_by_class=rows == 1 or not is_convolution)
    return layers


def _shapes(model_config: Mapping[str, Any], num_classes: int) -> dict[str, torch.Size]:
    from mmengine import ConfigDict
    from mmengine.registry import MODELS

    from brs_detr.config.folder_data import set_num_classes

    stand_in = {**model_config, "backbone": _STAND_IN}  # the backbone knows no classes, and may want memory
    config = ConfigDict(copy.deepcopy(stand_in))
    set_num_classes(config, num_classes)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model: nn.Module = MODELS.build(config)
    return {name: value.shape for name, value in model.state_dict().items()}


def carry_rows(
    layer: ClassLayer, old: Tensor, new: Tensor, old_names: Sequence[str], new_names: Sequence[str]
) -> Tensor:
    """A re-made layer whose rows for known classes, and for the background, are those of the old one.

    Args:
        layer: which rows belong to which class.
        old: rows for `old_names`.
        new: rows for `new_names`, as they were initialised.
        old_names: may differ in upper and lower case.
        new_names: the place in it is the label.
    """
    result = new.clone()
    if not layer.is_by_class:
        return result
    for old_row, new_row in _row_pairs(layer, len(old), old_names, new_names):
        result[new_row] = old[old_row].to(new.dtype)
    return result


def _row_pairs(
    layer: ClassLayer, num_old_rows: int, old_names: Sequence[str], new_names: Sequence[str]
) -> Iterator[tuple[int, int]]:
    for old_label, new_label in shared_classes(old_names, new_names):
        for row in range(layer.rows):
            yield old_label * layer.rows + row, new_label * layer.rows + row
    old_extra = num_old_rows - layer.rows * len(old_names)
    for row in range(min(old_extra, layer.extra)):
        yield layer.rows * len(old_names) + row, layer.rows * len(new_names) + row


def shared_classes(old_names: Sequence[str], new_names: Sequence[str]) -> list[tuple[int, int]]:
    """Labels (old, new) of the classes that both know, whatever the case of their names."""
    old_label = {name.casefold(): label for label, name in enumerate(old_names)}
    return [(old_label[name.casefold()], new) for new, name in enumerate(new_names) if name.casefold() in old_label]
