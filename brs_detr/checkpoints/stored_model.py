"""Build a model from what a file says, and fill it with the weights of the file."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from brs_detr.data.loading.registry import register
from brs_detr.errors import UserError

_FACTORIES = {torch.empty, torch.full, torch.ones, torch.rand, torch.randn, torch.zeros}
_SPARE = 2**24
"""Numbers that a model may make besides its weights."""


def build_stored_model(config: Mapping[str, Any], state_dict: Mapping[str, Tensor], source: str) -> nn.Module:
    """A model with its weights, in training mode. It takes no more memory than the file accounts for.

    Args:
        config: of the model, from `brs_detr.checkpoints.stored_config.read_stored_config`.
        state_dict: its weights.
        source: the file, for messages.

    Raises:
        UserError: no model can be built from it, or its weights are others than those of the file.
    """
    from mmengine.registry import MODELS, init_default_scope

    register()
    init_default_scope("mmdet")
    try:
        with _NoMoreThan(2 * _size(state_dict.values()) + _SPARE):
            model: nn.Module = MODELS.build(copy.deepcopy(config))  # mmdet's layers write into theirs
        model.load_state_dict(state_dict)
    except UserError:
        raise
    except RuntimeError as error:
        raise UserError(f"The weights in {source} do not fit its config: {error}", "Ask its author.") from None
    except Exception as error:  # of whatever class got what it cannot use
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"No model can be built from the config in {source}: {reason}", "Ask its author.") from None
    return model


class _NoMoreThan(TorchFunctionMode):
    """Refuses to make more numbers than it is told, before they take memory."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FACTORIES:
            size = kwargs["size"] if "size" in kwargs else args[:1] if func is torch.full else args
            self.left -= _product(size)
            if self.left < 0:
                raise RuntimeError("it would be larger than the file")
        return func(*args, **kwargs)


def _product(size: Iterable[Any]) -> int:
    """Of `torch.zeros(2, 3)` and of `torch.zeros((2, 3), ...)`."""
    flat = [side for part in size for side in (part if isinstance(part, (list, tuple)) else [part])]
    return math.prod(side for side in flat if isinstance(side, int))


def _size(tensors: Iterable[Tensor]) -> int:
    """How many numbers tensors hold; one may claim to have more than are stored."""
    return sum(min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size()) for tensor in tensors)
