"""Time and memory of calls that take turns on one machine.

`torch.utils.benchmark.Timer` runs whatever it times at least three times, and one after the other. Here calls take
turns, so that a slow moment of the machine meets all of them, a call of a minute runs once, and one that runs out of
memory leaves the others alone.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils.benchmark import Timer

SHORT_S, WARM_CALLS = 0.02, 3  # a shorter call is made so often, unmeasured, before every repeat
LONG_S = 3.0  # a first call that takes longer is the measurement: its warm-up is a small part of it
CACHE_BYTES = 256 << 20  # more than the last cache of any device

Call = Callable[[], object]


@dataclass
class Timing:
    """Seconds of each repeat and of the call before them, or why there are none."""

    seconds: list[float] = field(default_factory=list)
    failure: str | None = None
    warm_up_s: float = math.inf

    @property
    def median_s(self) -> float | None:
        """Median over the repeats."""
        return statistics.median(self.seconds) if self.seconds and self.failure is None else None


def time_in_turns(
    calls: Mapping[str, Call], stopwatch: Callable[[Call], float], repeats: int, budget_s: float
) -> dict[str, Timing]:
    """Time calls in turns, so that a machine that slows down for a while slows all of them alike.

    Each call is made once unmeasured, then as often as its share of the budget allows, spread evenly over the rounds. A
    short one is also made unmeasured at the beginning of each of its turns, so that no call gains or loses by the one
    that had the turn before.

    Args:
        calls: by name.
        stopwatch: returns the seconds of a call.
        repeats: at most.
        budget_s: for each call; one that takes longer than the whole budget is still measured once.
    """
    timings = {name: Timing() for name in calls}
    for is_warm_up in (True, False):
        for name, call in calls.items():
            _repeat(timings[name], call, stopwatch, is_warm_up)
    wanted = {
        name: max(1, min(repeats, int(budget_s / max(min(timing.seconds[0], timing.warm_up_s), 1e-9))))
        for name, timing in timings.items()
        if timing.seconds
    }
    rounds = max(wanted.values(), default=0)
    for turn in range(1, rounds):
        for name, number in wanted.items():
            if turn * number // rounds > (turn - 1) * number // rounds:
                _repeat(timings[name], calls[name], stopwatch)
    return timings


def _repeat(timing: Timing, call: Call, stopwatch: Callable[[Call], float], is_warm_up: bool = False) -> None:
    if timing.failure is not None or (not is_warm_up and timing.seconds and timing.seconds[0] > LONG_S):
        return
    try:
        for _ in range(WARM_CALLS if timing.warm_up_s < SHORT_S else 0):
            call()
        seconds = stopwatch(call)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        timing.failure = "out of memory"
        return
    if is_warm_up:
        timing.warm_up_s = seconds
    if not is_warm_up or seconds > LONG_S:
        timing.seconds.append(seconds)


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, the CPU allocator of PyTorch or that of CUDA had no more."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


class Stopwatch:
    """Seconds of a call on a device.

    On CUDA between two events, from an idle device to an idle device, with a cache that holds nothing of the problem.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cache = torch.empty(CACHE_BYTES, dtype=torch.int8, device=device) if device.type == "cuda" else None

    def __call__(self, call: Call) -> float:
        if self.cache is None:
            started = time.perf_counter()
            call()
            return time.perf_counter() - started
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.device(self.device):
            self.cache.zero_()
            torch.cuda.synchronize()
            begin.record()
            call()
            end.record()
            torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1000


def copy_bytes_per_s(device: torch.device) -> float:
    """Bytes read and written a second by the copy of a large tensor."""
    source = torch.zeros(CACHE_BYTES, dtype=torch.int8, device=device)
    names = {"source": source, "target": torch.empty_like(source)}
    timing = Timer("target.copy_(source)", globals=names, num_threads=torch.get_num_threads())
    return 2 * CACHE_BYTES / timing.blocked_autorange(min_run_time=0.5).median


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
