"""Time and memory of calls that take turns on one machine.

`torch.utils.benchmark.Timer` runs a call at least three times, one call after the other. Here calls take turns, so that
a slow phase of the machine affects all of them, a call of a minute runs once, and one that runs out of memory does not
stop the others.
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

SHORT_S, WARM_CALLS = 0.02, 3  # shorter calls run this often, untimed, before every repeat
LONG_S = 3.0  # a longer first call is the measurement: warm-up is a small part of it
CACHE_BYTES = 256 << 20  # more than the last cache of any device

Call = Callable[[], object]


@dataclass
class Timing:
    """Seconds of each repeat and of the warm-up call, or why there are none."""

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

    Each call runs once untimed, then as often as the budget allows, spread evenly over all rounds. A short one also
    runs untimed at the start of each of its turns, so that no call gains or loses from the previous one.

    Args:
        calls: by name.
        stopwatch: returns the seconds of a call.
        repeats: most repeats.
        budget_s: seconds for each call; a call that takes longer is still timed once.
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
    """Whether Python or PyTorch's allocator for CPU or CUDA is out of memory."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


class Stopwatch:
    """Time a call on a device.

    On CUDA between two events, from idle to idle, with the cache flushed before.
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
    """Measure the bytes read and written per second by the copy of a large tensor."""
    source = torch.zeros(CACHE_BYTES, dtype=torch.int8, device=device)
    names = {"source": source, "target": torch.empty_like(source)}
    timing = Timer("target.copy_(source)", globals=names, num_threads=torch.get_num_threads())
    return 2 * CACHE_BYTES / timing.blocked_autorange(min_run_time=0.5).median


def peak_extra_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Measure the peak memory of the tensors that a call creates, including its results.

    On CUDA this is the statistic of the allocator, in blocks of 512 bytes. On the CPU it is the sum of allocations and
    releases in PyTorch's profiler, including those inside operators, but without what other libraries allocate. The
    profiler stores every event, so a call must not run millions of operators.
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
    """Return the free memory of the GPU, or of the machine and the container of this process."""
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
    """Yield time and bytes of each allocation, negative for a release."""
    nodes = list(profile.profiler.kineto_results.experimental_event_tree())  # type: ignore[union-attr]
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.tag == torch._C._profiler._EventType.Allocation:
            yield node.start_time_ns, node.extra_fields.alloc_size


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the profiler's native log lines on standard error, which no setting turns off."""
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
    return 1 << 62  # unknown: assume enough


def _free_in_container() -> int:
    folder = Path("/sys/fs/cgroup")
    try:
        limit = int((folder / "memory.max").read_text())
        return limit - int((folder / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return 1 << 62
