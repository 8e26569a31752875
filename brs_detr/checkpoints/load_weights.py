"""Load into a model whatever fits of a set of weights, and say what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from brs_detr.checkpoints.class_layers import ClassLayer, carry_rows
from brs_detr.errors import UserError
from brs_detr.mm.backbones.swin_names import swin_names

_GROWING = "query_embedding.weight"  # one row a query


@dataclass(frozen=True)
class ClassChange:
    """From which classes to which.

    Args:
        layers: that depend on the classes, by name.
        new_names: of the data.
        old_names: of the weights; empty where they do not say.
    """

    layers: Mapping[str, ClassLayer] = field(default_factory=dict)
    new_names: tuple[str, ...] = ()
    old_names: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether the weights say what they were trained for."""
        return bool(self.old_names)

    @property
    def is_none(self) -> bool:
        """Whether the labels mean what they meant."""
        return self.old_names == self.new_names


@dataclass(frozen=True)
class LoadAccount:
    """What came of loading: the number of values of each tensor, by its name.

    Args:
        loaded: as they were.
        remade: in the model with another number of classes or queries; rows that have the same meaning are kept.
        unused: in the weights, and nowhere in the model.
        missing: in the model, and not in the weights; as they were initialised.
        other_shape: those of the missing ones whose name is there with another shape: (there, here).
    """

    loaded: dict[str, int] = field(default_factory=dict)
    remade: dict[str, int] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    other_shape: dict[str, tuple[torch.Size, torch.Size]] = field(default_factory=dict)

    @property
    def used_share(self) -> float:
        """Share of the values of the weights that the model uses."""
        used = sum(self.loaded.values()) + sum(self.remade.values())
        return used / max(used + sum(self.unused.values()), 1)


def load_weights(
    model: nn.Module, state_dict: Mapping[str, Tensor], classes: ClassChange | None = None, source: str = "the weights"
) -> LoadAccount:
    """Load everything that fits by name and shape.

    They may be those of the model, or of its backbone alone (names of torchvision, timm or the official Swin), or have
    names that the model translates by its method `own_names(state_dict)`.

    Args:
        model: with its weights initialised; changed in place.
        state_dict: to load.
        classes: what to do with layers that depend on the classes; by default they are loaded when their shape fits.
        source: of the weights, for messages.

    Raises:
        UserError: less than half of the weights is of use, or nothing of the backbone; the model is as it was.
    """
    own = model.state_dict()
    renamed = max((read(state_dict) for read in _readings(model)), key=lambda names: _num_fitting(names, own))
    values, account = sort_weights(own, renamed, classes or ClassChange(), _agnostic_layers(model))
    _require_use(account, source)
    model.load_state_dict(values, strict=False)
    return account


def _readings(model: nn.Module) -> Iterator[Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]]:
    """Ways to read names, the plain one first."""
    yield dict
    if hasattr(model, "own_names"):
        yield model.own_names  # type: ignore[misc]
    yield lambda names: {f"backbone.{key}": value for key, value in names.items()}
    yield lambda names: {f"backbone.model.{key}": value for key, value in names.items()}  # TimmBackbone
    yield swin_names


def _num_fitting(names: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int:
    return sum(value.numel() for name, value in names.items() if name in own and own[name].shape == value.shape)


def _agnostic_layers(model: nn.Module) -> tuple[str, ...]:
    """Layers that are as large as the number of classes, though their rows mean no class."""
    return getattr(model, "class_agnostic_layers", ())


def sort_weights(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], classes: ClassChange, agnostic: tuple[str, ...]
) -> tuple[dict[str, Tensor], LoadAccount]:
    """The tensors to load, and the account.

    Args:
        own: of the model.
        given: under the names of the model.
        classes: what to do with layers that depend on the classes.
        agnostic: beginnings of the names of those among them whose rows mean no class.
    """
    values: dict[str, Tensor] = {}
    account = LoadAccount(unused={name: value.numel() for name, value in given.items() if name not in own})
    for name, new in own.items():
        old = given.get(name)
        if old is None:
            account.missing[name] = new.numel()
        elif _is_remade(name, old, new, classes, agnostic):
            account.remade[name] = new.numel()
            values[name] = _remade(name, old, new, classes, agnostic)
        elif old.shape == new.shape:
            account.loaded[name] = new.numel()
            values[name] = old
        else:
            account.missing[name], account.unused[name] = new.numel(), old.numel()
            account.other_shape[name] = old.shape, new.shape
    return values, account


def _is_remade(name: str, old: Tensor, new: Tensor, classes: ClassChange, agnostic: tuple[str, ...]) -> bool:
    if old.shape[1:] != new.shape[1:] or old.ndim != new.ndim:
        return False
    if name.endswith(_GROWING):
        return old.shape != new.shape
    if name not in classes.layers:
        return False
    means_others = classes.is_known and not classes.is_none and not name.startswith(agnostic)
    return old.shape != new.shape or means_others


def _remade(name: str, old: Tensor, new: Tensor, classes: ClassChange, agnostic: tuple[str, ...]) -> Tensor:
    if name.endswith(_GROWING) or (agnostic and name.startswith(agnostic)):
        kept = min(len(old), len(new))
        return torch.cat([old[:kept].to(new), new[kept:]])
    return carry_rows(classes.layers[name], old, new, classes.old_names, classes.new_names) if classes.is_known else new


def _require_use(account: LoadAccount, source: str) -> None:
    found = [name for name in (*account.loaded, *account.remade) if name.startswith("backbone.")]
    if account.used_share >= 0.5 and found:
        return
    if account.other_shape:
        name, (there, here) = next(iter(account.other_shape.items()))
        reason = f"{name} is {_size(there)} there and {_size(here)} here"
        cure = "Choose the --model that they were trained in."
    elif found or account.used_share >= 0.5:
        reason = f"the model has no {next(iter(account.unused))}" if found else "there are none for the backbone"
        cure = "Choose the --model that they were trained in."
    else:
        reason = f"its names are of another kind, such as {next(iter(account.unused))}"
        cure = "Give weights of this detector or of its backbone, or --weights none."
    raise UserError(f"{source} does not fit the model: {account.used_share:.0%} of it can be used; {reason}.", cure)


def _size(shape: torch.Size) -> str:
    return " x ".join(map(str, shape)) or "a number"
