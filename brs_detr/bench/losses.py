"""Time, memory and operations of each implementation at each size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from brs_detr.bench.grid import Cell, Problem, fewer_positives, make_problem
from brs_detr.bench.implementations import IMPLEMENTATIONS, forward_backward, needed_bytes
from brs_detr.bench.measure import Stopwatch, Timing, is_out_of_memory, time_in_turns
from brs_detr.bench.memory import free_bytes, peak_extra_bytes
from brs_detr.bench.operations import count_operations, extrapolate
from brs_detr.bench.results import Record

PROBES = {"loop": (64, 128, 256), "bucketed_matrix": (1024, 2048, 4096)}
"""Numbers of positives with which operations are counted where there are more. The cost of these two is a polynomial of
second degree in their number: the loop does the same to tensors of the same size for each of them, the matrices hold
all their pairs. What that leaves aside (a sort of the positives, those with none worse above them) is below 1 %."""


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Args:
        device: cpu, or a CUDA device.
        dtype: of the logits.
        implementations: names to measure.
        repeats: at most, of each implementation at each size.
        budget_s: seconds for the repeats of each implementation at each size; each is made at least once.
        seed: of the problems.
    """

    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    implementations: Sequence[str] = tuple(IMPLEMENTATIONS)
    repeats: int = 31
    budget_s: float = 0.5
    seed: int = 0


def bench_losses(cells: Sequence[Cell], settings: Settings) -> Iterator[list[Record]]:
    """Measure every implementation at every size, and yield the records of one size after the other."""
    stopwatch = Stopwatch(settings.device)
    for cell in cells:
        yield measure_cell(cell, settings, stopwatch)


def measure_cell(cell: Cell, settings: Settings, stopwatch: Stopwatch) -> list[Record]:
    """Records of all implementations at one size, on the same tensors."""
    problem = make_problem(cell, settings.device, settings.dtype, settings.seed)
    refusals = {name: _refusal(name, cell, settings) for name in settings.implementations}
    calls = {name: partial(forward_backward, name, problem) for name, reason in refusals.items() if reason is None}
    timings = time_in_turns(calls, stopwatch, settings.repeats, settings.budget_s)
    return [
        _record(name, cell, problem, timings.get(name, Timing(failure=reason))) for name, reason in refusals.items()
    ]


def _refusal(name: str, cell: Cell, settings: Settings) -> str | None:
    """Why an implementation cannot run at a size, or None; a tenth of the free memory is left to others."""
    needed, free = needed_bytes(name, cell, settings.dtype), free_bytes(settings.device)
    return f"needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB free" if needed > 0.9 * free else None


def _record(name: str, cell: Cell, problem: Problem, timing: Timing) -> Record:
    peak = operations = None
    if timing.failure is None:
        try:
            peak, operations = _peak(name, cell, problem), _operations(name, cell, problem)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            timing.failure = "out of memory"
    median_s, minimum_bytes = timing.median_s, _minimum_bytes(problem)
    return Record(
        *cell,
        implementation=name,
        repeats=0 if timing.failure else len(timing.seconds),
        median_s=median_s,
        peak_extra_bytes=peak,
        operations=operations,
        minimum_bytes=minimum_bytes,
        bytes_per_s=minimum_bytes / median_s if median_s else None,
        skipped=timing.failure,
    )


def _minimum_bytes(problem: Problem) -> int:
    logits, targets = problem.logits, problem.targets
    return logits.numel() * (3 * logits.element_size() + 2 * targets.element_size())


def _peak(name: str, cell: Cell, problem: Problem) -> int:
    """Measured; that of the loop, whose millions of operators no profiler keeps, from the straight line it follows."""
    device = problem.logits.device

    def peak(problem: Problem) -> int:
        problem.logits.grad = None  # else its release would count as memory given back by the call
        return peak_extra_bytes(partial(forward_backward, name, problem), device)

    fewest, _, most = PROBES["loop"]
    if name != "loop" or cell.positives_a_row <= most:
        return peak(problem)
    peaks = [peak(fewer_positives(problem, number)) for number in (fewest, most)]
    return extrapolate((fewest, most), peaks, cell.num_positives)


def _operations(name: str, cell: Cell, problem: Problem) -> int:
    """Counted on the CPU, with few positives where they are many and the rest follows; see `PROBES`."""
    logits, targets, labels = (tensor.detach().cpu() for tensor in problem[:3])
    on_cpu = Problem(logits.requires_grad_(), targets, labels, problem.max_positives)
    probes = PROBES.get(name, (cell.num_positives,))
    if cell.positives_a_row <= probes[-1]:
        return count_operations(partial(forward_backward, name, on_cpu))
    counts = [count_operations(partial(forward_backward, name, fewer_positives(on_cpu, number))) for number in probes]
    return extrapolate(probes, counts, cell.num_positives)
