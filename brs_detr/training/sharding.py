"""Fully sharded data parallelism (FSDP 2): every process holds a shard of the weights, gradients and moments.

Use `--set fsdp=True` under torchrun for models whose weights and optimizer state do not fit on one GPU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, broadcast, get_world_size
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

_BLOCK = re.compile(r"(layer\d|layers|blocks)\.\d+$")  # in ResNets, transformers, Swin


def shard(model: nn.Module) -> None:
    """Shard a model over the processes, block by block and in place, starting from the weights of the first process.

    Its `state_dict` still returns full tensors on the CPU, but every process has to call it.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for tensor in (*model.parameters(), *model.buffers()):
        broadcast(tensor.data)
    mesh = init_device_mesh(get_device(), (get_world_size(),))
    scalars = {parameter for parameter in model.parameters() if parameter.ndim == 0}  # cannot be sharded
    for scalar in scalars:
        if scalar.requires_grad:
            scalar.register_post_accumulate_grad_hook(_average_gradient)
    for block in _outermost_blocks(model):
        fully_shard(block, mesh=mesh, ignored_params=scalars)
    fully_shard(model, mesh=mesh, ignored_params=scalars)
    model.register_state_dict_post_hook(_gather_state_dict)


def _outermost_blocks(model: nn.Module) -> list[nn.Module]:
    blocks: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if _BLOCK.search(name) and not any(name.startswith(f"{outer}.") for outer in blocks):
            blocks[name] = module
    return list(blocks.values())


def _average_gradient(parameter: Tensor) -> None:
    assert parameter.grad is not None
    all_reduce(parameter.grad, "mean")


def _gather_state_dict(model: nn.Module, state_dict: dict[str, Any], prefix: str, metadata: Any) -> None:
    state_dict.update(whole(state_dict))


def whole(tree: Any) -> Any:
    """Replace shards in nested dictionaries and lists by full tensors on the CPU. Every process has to call this."""
    if isinstance(tree, DTensor):
        return tree.full_tensor().cpu()
    if isinstance(tree, Mapping):
        return {key: whole(value) for key, value in tree.items()}
    return [whole(value) for value in tree] if isinstance(tree, list) else tree


def share_of(tensor: Tensor) -> Tensor:
    """Return the shard of a tensor that this process holds."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def share_moments(optimizer: torch.optim.Optimizer) -> None:
    """Shard the state that an optimizer has loaded for sharded weights, in place."""
    for parameter, state in optimizer.state.items():
        if isinstance(parameter, DTensor):
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape and not isinstance(value, DTensor):
                    layout = parameter.device_mesh, parameter.placements
                    state[name] = distribute_tensor(value.to(parameter.device), *layout, src_data_rank=None)
