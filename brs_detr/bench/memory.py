"""How much memory a call needs beyond what it is given, and how much there is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


def peak_extra_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Most bytes held at a time by tensors that a call makes, its results included.

    On CUDA by the allocator's own record, in its blocks of 512 bytes. On the CPU by the sum of the allocations and
    releases that PyTorch's profiler sees, those inside an operator included: exact for what PyTorch allocates, blind to
    what a library allocates by itself. The profiler keeps every event: not for millions of operators.
    """
    if device.type == "cuda":
        return _peak_on_cuda(call, device)
    with (
        _quiet(),
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile,
    ):
        call()
    held = peak = 0
    for _, size in sorted(_allocations(profile)):
        held += size
        peak = max(peak, held)
    return peak


def free_bytes(device: torch.device) -> int:
    """Memory that a call may take: that of the GPU, or of the machine and of the container around this process."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(_free_on_machine(), _free_in_container())


def _peak_on_cuda(call: Callable[[], object], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _allocations(profile: torch.profiler.profile) -> Iterator[tuple[int, int]]:
    """Time and bytes of each allocation, or of each release as less than nothing."""
    nodes = list(profile.profiler.kineto_results.experimental_event_tree())  # type: ignore[union-attr]
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.tag == torch._C._profiler._EventType.Allocation:
            yield node.start_time_ns, node.extra_fields.alloc_size


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the profiler's native log lines, which no setting turns off, out of standard error."""
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _free_on_machine() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
        if "MemAvailable" in fields:
            return 1024 * int(fields["MemAvailable"].split()[0])
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 1 << 62  # not told: try it


def _free_in_container() -> int:
    folder = Path("/sys/fs/cgroup")
    try:
        limit = int((folder / "memory.max").read_text())
        return limit - int((folder / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return 1 << 62
