"""Times of several calls that compete on one machine."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

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
        self.is_cuda = device.type == "cuda"
        self.cache = torch.empty(CACHE_BYTES, dtype=torch.int8, device=device) if self.is_cuda else None

    def __call__(self, call: Call) -> float:
        """Time one call."""
        if not self.is_cuda:
            started = time.perf_counter()
            call()
            return time.perf_counter() - started
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.device(self.device):
            self.cache.zero_()  # type: ignore[union-attr]
            torch.cuda.synchronize()
            begin.record()
            call()
            end.record()
            torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1000


def copy_bytes_per_s(device: torch.device, repeats: int = 7) -> float:
    """Bytes read and written a second by the copy of a large tensor."""
    source = torch.zeros(CACHE_BYTES, dtype=torch.int8, device=device)
    target = torch.zeros_like(source)
    stopwatch = Stopwatch(device)
    seconds = [stopwatch(lambda: target.copy_(source)) for _ in range(repeats)]
    return 2 * CACHE_BYTES / statistics.median(seconds)
