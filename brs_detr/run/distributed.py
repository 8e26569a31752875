"""Processes that `torchrun` started together, and the memory that this process uses."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mmengine import Config

_T = TypeVar("_T")


def num_processes() -> int:
    """Return the number of processes that `torchrun` started, or 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_launched() -> bool:
    """Return whether this process is one of several that `torchrun` started."""
    return num_processes() > 1


def is_first() -> bool:
    """Return whether this process is the one that prints and writes files."""
    return os.environ.get("RANK", "0") == "0"


def join_processes(config: Config) -> None:
    """Start the process group and adapt the config to it. Does nothing for a single process.

    Without a GPU the group uses gloo, and the model wrapper gets no device ids. The group is destroyed before Python
    exits, because a gloo thread that releases its last tensor later aborts the process.

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
    os.environ.setdefault("MKL_NUM_THREADS", "1")  # otherwise mmengine sets it, with a warning in every process
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)  # to support older PyTorch
    if torch.cuda.is_available():
        init_dist("pytorch", backend="nccl")
        return
    torch.distributed.init_process_group("gloo")
    config.model_wrapper_cfg = {"type": "MMDistributedDataParallel", "device_ids": None, "broadcast_buffers": False}


def largest_of_all(number: int) -> int:
    """Return the largest number of all processes. The processes wait for each other, but not for their GPUs."""
    import torch
    from torch import distributed

    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return number
    shared = torch.tensor(number)
    distributed.all_reduce(shared, distributed.ReduceOp.MAX, group=_host_group())
    return int(shared)


def from_first(value: _T) -> _T:
    """Return the value of the first process in every process."""
    from mmengine.dist import broadcast_object_list

    values = [value]
    broadcast_object_list(values)
    return values[0]


def of_all(value: _T) -> list[_T]:
    """Return the values of all processes, in the order of their ranks."""
    from mmengine.dist import all_gather_object

    return list(all_gather_object(value))


@functools.cache
def _host_group() -> Any:
    """Return a gloo group, or None if the default group is one."""
    from torch import distributed

    return None if distributed.get_backend() == "gloo" else distributed.new_group(backend="gloo")


def _leave_processes() -> None:
    import torch.distributed

    if torch.distributed.is_initialized():
        gc.collect()  # a model wrapper in a cycle would keep the group
        torch.distributed.destroy_process_group()


def peak_memory_mb() -> float:
    """Return the peak memory in MiB: of the GPU if there is one, else of this process. Does not wait for the GPU."""
    import torch

    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else peak_process_memory_mb()


def peak_process_memory_mb() -> float:
    """Return the peak of this process's main memory in MiB, or 0 if unknown."""
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` would include what the parent process held at the fork
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 2**10
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
