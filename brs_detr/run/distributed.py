"""Take part in a run on several processes, when `torchrun` started this one."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mmengine import Config

_T = TypeVar("_T")


def num_processes() -> int:
    """How many processes `torchrun` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_launched() -> bool:
    """Whether this process is one of several that `torchrun` started."""
    return num_processes() > 1


def is_first() -> bool:
    """Whether this process is the one that speaks and writes."""
    return os.environ.get("RANK", "0") == "0"


def join_processes(config: Config) -> None:
    """Start the process group and set up the config for it; nothing to do for a single process.

    Without a GPU the group is gloo, and the model wrapper is told to keep its hands off devices. The group is ended
    before Python is: a thread of gloo that drops its last tensor later than that aborts the process.

    Args:
        config: changed in place.
    """
    if not is_launched():
        return
    import torch
    import torch.distributed
    from mmengine.dist import init_dist

    config.launcher = "pytorch"
    if torch.distributed.is_initialized():
        return
    atexit.register(_leave_processes)
    os.environ.setdefault("MKL_NUM_THREADS", "1")  # mmengine would do so, and say it in every process
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)  # newer name, newer PyTorch
    if torch.cuda.is_available():
        init_dist("pytorch", backend="nccl")
        return
    torch.distributed.init_process_group("gloo")
    config.model_wrapper_cfg = {"type": "MMDistributedDataParallel", "device_ids": None, "broadcast_buffers": False}


def largest_of_all(number: int) -> int:
    """The largest of the numbers that the processes give; each waits for the others, no device does."""
    import torch
    from torch import distributed

    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return number
    shared = torch.tensor(number)
    distributed.all_reduce(shared, distributed.ReduceOp.MAX, group=_host_group())
    return int(shared)


def from_first(value: _T) -> _T:
    """What the first process gives, in all of them."""
    from mmengine.dist import broadcast_object_list

    values = [value]
    broadcast_object_list(values)
    return values[0]


def of_all(value: _T) -> list[_T]:
    """What each process gives, by rank."""
    from mmengine.dist import all_gather_object

    return list(all_gather_object(value))


@functools.cache
def _host_group() -> Any:
    """A group that talks without a GPU; None for the default one, where that does."""
    from torch import distributed

    return None if distributed.get_backend() == "gloo" else distributed.new_group(backend="gloo")


def _leave_processes() -> None:
    import torch.distributed

    if torch.distributed.is_initialized():
        gc.collect()  # a model wrapper in a cycle would keep the group
        torch.distributed.destroy_process_group()
