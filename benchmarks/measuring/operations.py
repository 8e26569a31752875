"""Machine-independent counts of operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

OWN_NAMESPACE = "brs_detr"


class OperationCounter(TorchDispatchMode):
    """Count the operations of all tensor code on the CPU inside a ``with`` block, forward and backward.

    The cost of one ATen operator is the number of elements that it touches:

    * element-wise operators, reductions, copies and fills: the size of the largest input or of the output, whichever is
      larger;
    * gathers and scatters: the elements moved, not the size of the source tensor;
    * products of matrices [m, k] and [k, n]: ``2 m k n``;
    * sorts of n: ``n log2 n``; searches of n among p: ``n log2 p``;
    * views and uninitialised memory: 0.

    A fused ATen operator such as `binary_cross_entropy_with_logits` counts as one pass. Operators of this package
    (``brs_detr::...``) count as the operators inside them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and add its cost."""
        kwargs = kwargs or {}
        if func.namespace == OWN_NAMESPACE:
            with self:  # straight to the kernel, since the dispatcher would call this method again
                return func.redispatch(torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), *args, **kwargs)
        outputs = func(*args, **kwargs)
        self.total += _cost(func, args, kwargs, outputs)
        return outputs


def count_operations(call: Callable[[], object]) -> int:
    """Count the operations of one call."""
    with OperationCounter() as counter:
        call()
    return counter.total


def extrapolate(sizes: Sequence[int], values: Sequence[int], size: int) -> int:
    """Evaluate the polynomial through the values at `sizes` at `size` (Lagrange); exact for integers."""
    total = 0.0
    for i, value in enumerate(values):
        others = [other for j, other in enumerate(sizes) if j != i]
        total += value * math.prod(size - other for other in others) / math.prod(sizes[i] - other for other in others)
    return round(total)


def _cost(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> int:
    name = func.overloadpacket.__name__
    if _is_view(func) or name in _FREE:
        return 0
    if name in _COSTS:
        return _COSTS[name](list(args) + list(kwargs.values()), outputs)
    return _largest((args, kwargs, outputs))


def _is_view(func: Any) -> bool:
    aliases = [result.alias_info for result in func._schema.returns]
    is_plain_view = any(alias is not None and not alias.is_write for alias in aliases)
    return is_plain_view or torch.Tag.inplace_view in func.tags


def _largest(tree: Any) -> int:
    return max((leaf.numel() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)), default=0)


def _sort_cost(args: list[Any], outputs: Any) -> int:
    values = args[0]
    dims = [arg for arg in args[1:] if type(arg) is int]
    length = values.shape[dims[0] if dims else -1] if values.dim() else 1
    return round(values.numel() * math.log2(max(length, 2)))


def _search_cost(boundaries: Tensor, points: Any) -> int:
    return round(_largest([points, torch.empty(1)]) * math.log2(max(boundaries.shape[-1], 2)))


def _product_cost(left: Tensor, right: Tensor) -> int:
    return 2 * left.numel() * (right.shape[-1] if right.dim() > 1 else 1)


_FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "is_same_size"}

_COSTS: dict[str, Callable[[list[Any], Any], int]] = {
    **dict.fromkeys(("sort", "argsort", "msort"), _sort_cost),
    "searchsorted": lambda args, outputs: _search_cost(args[0], args[1]),
    "bucketize": lambda args, outputs: _search_cost(args[1], args[0]),
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot"), lambda args, outputs: _product_cost(args[0], args[1])),
    **dict.fromkeys(("addmm", "addmv", "baddbmm"), lambda args, outputs: _product_cost(args[1], args[2])),
    **dict.fromkeys(("index", "index_select", "gather"), lambda args, outputs: _largest((args[1:], outputs))),
    **dict.fromkeys(
        ("index_put", "index_put_", "index_add", "index_add_", "scatter", "scatter_", "scatter_add", "scatter_add_"),
        lambda args, outputs: _largest(args[1:]),
    ),
}
