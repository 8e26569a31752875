"""Load the weights that fit a model, keep the classes that both share, and report the result."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine import ConfigDict
from rich import box
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from brs_detr.config.folder_data import set_num_classes
from brs_detr.errors import UserError
from brs_detr.mm.backbones import swin_names

_GROWING = "query_embedding.weight"  # one row per query
_STAND_IN = dict(type="ResNet", depth=18, out_indices=(1, 2, 3))
_COLUMNS = {"loaded": "loaded", "re-made": "remade", "unused": "unused", "missing": "missing"}


@dataclass(frozen=True)
class ClassLayer:
    """The rows of a weight or bias whose size depends on the number of classes.

    Args:
        rows: rows per class, in the order of the labels: 1 for logits, 4 for class-specific boxes.
        extra: rows after those of the classes: 1 for the background of a softmax.
        is_by_class: false for a dense head with several anchors per location, whose rows are sorted by anchor first.
    """

    rows: int
    extra: int = 0
    is_by_class: bool = True


@dataclass(frozen=True)
class ClassChange:
    """The classes of the weights and of the dataset.

    Args:
        layers: layers that depend on the classes, by name.
        new_names: class names of the dataset by label.
        old_names: class names of the weights by label; empty if unknown.
    """

    layers: Mapping[str, ClassLayer] = field(default_factory=dict)
    new_names: tuple[str, ...] = ()
    old_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadAccount:
    """The result of loading: the number of values of each tensor, by name.

    Args:
        loaded: tensors that were loaded unchanged.
        remade: tensors that were adapted to another number of classes or queries. Rows with the same meaning are kept.
        unused: tensors of the weights that the model does not have.
        missing: tensors of the model that the weights do not have. They keep their initial values.
        other_shape: shapes in the weights and in the model of missing tensors whose shapes differ.
    """

    loaded: dict[str, int] = field(default_factory=dict)
    remade: dict[str, int] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    other_shape: dict[str, tuple[torch.Size, torch.Size]] = field(default_factory=dict)

    @property
    def used_share(self) -> float:
        """Fraction of the weights' values that the model uses."""
        used = sum(self.loaded.values()) + sum(self.remade.values())
        return used / max(used + sum(self.unused.values()), 1)


def load_weights(
    model: nn.Module, state_dict: Mapping[str, Tensor], classes: ClassChange | None = None, source: str = "the weights"
) -> LoadAccount:
    """Load everything that fits by name and shape.

    The names may be those of the model, those of its backbone (from torchvision, timm or the official Swin), or names
    that the model translates by its method `own_names(state_dict)`.

    Args:
        model: model with initialised weights; changed in place.
        state_dict: weights to load.
        classes: classes of the weights and the dataset. By default, layers that depend on the classes are loaded if
            their shape fits.
        source: origin of the weights, for messages.

    Raises:
        UserError: less than half of the weights fit, or none of the backbone. The model is unchanged.
    """
    own = model.state_dict()
    renamed = max((read(state_dict) for read in _readings(model)), key=lambda names: _num_fitting(names, own))
    agnostic = getattr(model, "class_agnostic_layers", ())  # one row per class, but without a meaning for a class
    values, account = sort_weights(own, renamed, classes or ClassChange(), agnostic)
    _require_use(account, source)
    model.load_state_dict(values, strict=False)
    return account


def _readings(model: nn.Module) -> Iterator[Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]]:
    """Yield translations of names, the identity first."""
    yield dict
    if hasattr(model, "own_names"):
        yield model.own_names  # type: ignore[misc]
    yield lambda names: {f"backbone.{key}": value for key, value in names.items()}
    yield lambda names: {f"backbone.model.{key}": value for key, value in names.items()}  # TimmBackbone
    yield swin_names


def _num_fitting(names: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int:
    return sum(value.numel() for name, value in names.items() if name in own and own[name].shape == value.shape)


def sort_weights(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], classes: ClassChange, agnostic: tuple[str, ...]
) -> tuple[dict[str, Tensor], LoadAccount]:
    """Choose the tensors to load, and account for all of them.

    Args:
        own: tensors of the model.
        given: tensors to load, under the model's names.
        classes: classes of the weights and the dataset.
        agnostic: name prefixes of layers with one row per class whose rows do not mean a class.
    """
    values: dict[str, Tensor] = {}
    account = LoadAccount(unused={name: value.numel() for name, value in given.items() if name not in own})
    for name, new in own.items():
        old = given.get(name)
        if old is None:
            account.missing[name] = new.numel()
        elif (remade := _remade(name, old, new, classes, agnostic)) is not None:
            account.remade[name] = new.numel()
            values[name] = remade
        elif old.shape == new.shape:
            account.loaded[name] = new.numel()
            values[name] = old
        else:
            account.missing[name], account.unused[name] = new.numel(), old.numel()
            account.other_shape[name] = old.shape, new.shape
    return values, account


def _remade(name: str, old: Tensor, new: Tensor, classes: ClassChange, agnostic: tuple[str, ...]) -> Tensor | None:
    """Adapt a tensor to another number of classes or queries; None if that is not needed or not possible."""
    if old.shape[1:] != new.shape[1:] or old.ndim != new.ndim:
        return None
    is_growing, is_agnostic = name.endswith(_GROWING), name.startswith(agnostic)
    has_other_classes = classes.old_names not in ((), classes.new_names) and not is_agnostic
    if not is_growing and name not in classes.layers:
        return None
    if old.shape == new.shape and (is_growing or not has_other_classes):
        return None
    if is_growing or is_agnostic:
        num_kept = min(len(old), len(new))
        return torch.cat([old[:num_kept].to(new), new[num_kept:]])
    if not classes.old_names:
        return new
    return carry_rows(classes.layers[name], old, new, classes.old_names, classes.new_names)


def _require_use(account: LoadAccount, source: str) -> None:
    found = [name for name in (*account.loaded, *account.remade) if name.startswith("backbone.")]
    if account.used_share >= 0.5 and found:
        return
    hint = "Choose the --model that they were trained in."
    if account.other_shape:
        name, shapes = next(iter(account.other_shape.items()))
        old, new = (" x ".join(map(str, shape)) or "a number" for shape in shapes)
        reason = f"{name} is {old}, and {new} in the model"
    elif found:
        reason = f"the model has no {next(iter(account.unused))}"
    elif account.used_share >= 0.5:
        reason = "it has none for the backbone"
    else:
        reason = f"its names are different, such as {next(iter(account.unused))}"
        hint = "Give weights of this detector or of its backbone, or --weights none."
    raise UserError(f"{source} does not fit the model: {account.used_share:.0%} of it can be used; {reason}.", hint)


def find_class_layers(model_config: Mapping[str, Any]) -> dict[str, ClassLayer]:
    """Find the parameters of a model whose size depends on the number of classes, by name.

    The model is built for 2 and for 3 classes on the meta device.

    Args:
        model_config: config of the model, with `num_classes` wherever it has an effect.
    """
    two, three = (_shapes(model_config, num_classes) for num_classes in (2, 3))
    layers = {}
    for name, shape in two.items():
        rows = three[name][0] - shape[0] if shape != three[name] else 0
        if rows:
            is_convolution = len(two[f"{name.rpartition('.')[0]}.weight"]) == 4
            layers[name] = ClassLayer(rows, shape[0] - 2 * rows, is_by_class=rows == 1 or not is_convolution)
    return layers


def _shapes(model_config: Mapping[str, Any], num_classes: int) -> dict[str, torch.Size]:
    from mmengine.registry import MODELS

    stand_in = {
        **model_config,
        "backbone": _STAND_IN,
    }  # the backbone has no classes, and may need memory
    config = ConfigDict(copy.deepcopy(stand_in))
    set_num_classes(config, num_classes)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model: nn.Module = MODELS.build(config)
    return {name: value.shape for name, value in model.state_dict().items()}


def carry_rows(
    layer: ClassLayer, old: Tensor, new: Tensor, old_names: Sequence[str], new_names: Sequence[str]
) -> Tensor:
    """Copy the rows of shared classes and of the background from an old layer to a new one.

    Args:
        layer: which rows belong to which class.
        old: rows for `old_names`.
        new: initial rows for `new_names`.
        old_names: old class names by label, compared without case.
        new_names: new class names by label.
    """
    result = new.clone()
    if not layer.is_by_class:
        return result
    num_old, num_new = layer.rows * len(old_names), layer.rows * len(new_names)
    pairs = [
        (old_label * layer.rows + row, new_label * layer.rows + row)
        for old_label, new_label in shared_classes(old_names, new_names)
        for row in range(layer.rows)
    ]
    pairs += [(num_old + row, num_new + row) for row in range(min(len(old) - num_old, layer.extra))]
    for old_row, new_row in pairs:
        result[new_row] = old[old_row].to(new.dtype)
    return result


def shared_classes(old_names: Sequence[str], new_names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the labels (old, new) of classes with the same name, ignoring case."""
    old_label = {name.casefold(): label for label, name in enumerate(old_names)}
    return [(old_label[name.casefold()], new) for new, name in enumerate(new_names) if name.casefold() in old_label]


def load_table(account: LoadAccount) -> Table:
    """Make a table of an account for the console, with a row per part of the model."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("values (tensors)")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for row in load_rows(account):
        table.add_row(*map(Text, row))
    return table


def load_rows(account: LoadAccount) -> list[list[str]]:
    """Return the cells of the table without its header."""
    columns = [getattr(account, name) for name in _COLUMNS.values()]
    parts = dict.fromkeys(name.split(".")[0] for column in columns for name in column)
    return [
        [part, *(_cell([num for name, num in column.items() if name.split(".")[0] == part]) for column in columns)]
        for part in parts
    ]


def _cell(sizes: list[int]) -> str:
    total = sum(sizes)
    short = f"{total / 1e6:.1f} M" if total >= 1e6 else f"{total / 1e3:.1f} k" if total >= 1e3 else str(total)
    return f"{short} ({len(sizes)})" if sizes else "-"


def remade_layers(account: LoadAccount) -> list[str]:
    """Return the names of the remade layers, without `weight` and `bias`."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in account.remade))
