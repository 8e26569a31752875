"""Time, memory and operations of RS Loss in four forms, beside focal loss and BCE.

RS Loss is computed by its loop, by the matrices of Algorithm 2, and bucketed and exact by this package. Sizes are the
synthetic grid of the paper and the calls of Co-DETR with two images. Losses take turns on the same tensors; each is
computed at least once, however long it takes. The result is a JSON file in benchmarks/results, named after the device.

python benchmarks/losses.py --device cpu
python benchmarks/losses.py --device cuda --figure losses.png
python benchmarks/losses.py --suite co-detr --only exact focal --max-logits 500000
python benchmarks/losses.py --read RESULTS.json --show memory         # print a result as Markdown
python benchmarks/losses.py --read RESULTS.json --figure losses.png   # draw a result
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

import brs_detr
from brs_detr.errors import UserError
from brs_detr.run.console import make_console, track
from measuring import results
from measuring.loss_results import (
    QUANTITIES,
    BenchResult,
    Record,
    console_tables,
    markdown_table,
    plot_losses,
    read_result,
    require_picture,
    skipped,
)
from measuring.meters import Stopwatch, Timing, free_bytes, is_out_of_memory, peak_extra_bytes, time_in_turns
from measuring.operations import count_operations, extrapolate
from measuring.problems import (
    DELTA,
    IMPLEMENTATIONS,
    Cell,
    Problem,
    fewer_positives,
    forward_backward,
    make_problem,
    needed_bytes,
    select_cells,
)

PROBES = {"loop": (64, 128, 256), "bucketed_matrix": (1024, 2048, 4096)}
"""Numbers of positives to count operations with, if there are more. The cost of these two is a quadratic polynomial in
the number of positives: the loop does the same to tensors of equal size for each positive, the matrices hold all pairs.
The neglected rest (a sort of the positives, those with none worse above them) is below 1 %."""


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Args:
        device: cpu, or a CUDA device.
        dtype: dtype of the logits.
        implementations: names to measure.
        repeats: most repeats of each implementation at each size.
        budget_s: seconds for the repeats of each implementation at each size; each runs at least once.
        seed: random seed of the problems.
    """

    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    implementations: Sequence[str] = tuple(IMPLEMENTATIONS)
    repeats: int = 31
    budget_s: float = 0.5
    seed: int = 0


def measure_size(cell: Cell, settings: Settings) -> list[Record]:
    """Measure all implementations at one size, on the same tensors."""
    problem = make_problem(cell, settings.device, settings.dtype, settings.seed)
    refusals = {name: _refusal(name, cell, settings) for name in settings.implementations}
    calls = {name: partial(forward_backward, name, problem) for name, reason in refusals.items() if reason is None}
    timings = time_in_turns(calls, Stopwatch(settings.device), settings.repeats, settings.budget_s)
    return [
        _record(name, cell, problem, timings.get(name, Timing(failure=reason))) for name, reason in refusals.items()
    ]


def _refusal(name: str, cell: Cell, settings: Settings) -> str | None:
    """Say why an implementation cannot run at a size, or None; a tenth of the free memory is kept in reserve."""
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
    """Measure the peak memory; extrapolate linearly for the loop, which has too many operators for a profiler."""
    device = problem.logits.device

    def peak(problem: Problem) -> int:
        problem.logits.grad = None  # its release would count as memory freed by the call
        return peak_extra_bytes(partial(forward_backward, name, problem), device)

    fewest, _, most = PROBES["loop"]
    if name != "loop" or cell.positives_per_row <= most:
        return peak(problem)
    peaks = [peak(fewer_positives(problem, number)) for number in (fewest, most)]
    return extrapolate((fewest, most), peaks, cell.num_positives)


def _operations(name: str, cell: Cell, problem: Problem) -> int:
    """Count operations on the CPU, or extrapolate them from few positives; see `PROBES`."""
    logits, targets, labels = (tensor.detach().cpu() for tensor in problem[:3])
    on_cpu = Problem(logits.requires_grad_(), targets, labels, problem.max_positives)
    probes = PROBES.get(name, (cell.num_positives,))
    if cell.positives_per_row <= probes[-1]:
        return count_operations(partial(forward_backward, name, on_cpu))
    counts = [count_operations(partial(forward_backward, name, fewer_positives(on_cpu, number))) for number in probes]
    return extrapolate(probes, counts, cell.num_positives)


def main(args: argparse.Namespace) -> None:
    console = make_console()
    if args.read is not None:
        result = read_result(args.read)
        if args.figure is None:
            console.print(markdown_table(result, args.show))
    else:
        result = _measure_all(args)
    if args.figure is not None:
        plot_losses(result, args.figure)
        console.print(f"Drawn in {args.figure}")


def _measure_all(args: argparse.Namespace) -> BenchResult:
    console = make_console()
    device = results.device(args.device)
    cells = select_cells(args.suite, args.max_logits)
    settings = Settings(device, getattr(torch, args.dtype), args.only, args.repeats, args.seconds, args.seed)
    names = {"device_name": results.device_name(device), "torch": torch.__version__}
    out = args.out or results.default_path(names, "losses")
    results.require_writable(out)
    if args.figure is not None:
        require_picture(args.figure)
        results.require_writable(args.figure)
        if all(cell.suite != "paper" for cell in cells):
            raise UserError("--figure draws the paper's grid.", "Measure it with --suite paper or all.")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    environment = {
        **results.describe_environment(device),
        "brs_detr": brs_detr.__version__,
        "dtype": args.dtype,
        "delta": DELTA,
        "seed": args.seed,
    }
    result = BenchResult(environment, [])
    for number, cell in enumerate(track(cells, "sizes", console), start=1):
        records = measure_size(cell, settings)
        result.records.extend(records)
        if not console.is_terminal:
            console.print(f"{number}/{len(cells)}  {_line(records)}")
    results.write_result(out, environment, [dataclasses.asdict(record) for record in result.records])
    for quantity in ("time", "bandwidth") if device.type == "cuda" else ("time",):
        for shown in console_tables(result, quantity):
            console.print(shown)
    for line in skipped(result):
        console.print(f"Skipped: {line}")
    console.print(f"Written to {out}")
    return result


def _line(records: Sequence[Record]) -> str:
    times = (
        f"{record.implementation} {'-' if record.median_s is None else f'{1000 * record.median_s:.3g} ms'}"
        for record in records
    )
    return f"{records[0].name}: {', '.join(times)}"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--suite", choices=("paper", "co-detr", "all"), default="all")
    parser.add_argument("--only", choices=list(IMPLEMENTATIONS), nargs="+", default=tuple(IMPLEMENTATIONS))
    parser.add_argument("--max-logits", type=results.positive, help="skip larger sizes")
    parser.add_argument("--repeats", type=results.positive, default=31, help="most repeats of each loss at a size")
    parser.add_argument("--seconds", type=float, default=0.5, help="time for the repeats of each loss at a size")
    parser.add_argument("--dtype", choices=("float32", "float64", "float16", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=results.positive, help="CPU threads; by default PyTorch chooses")
    parser.add_argument("--seed", type=int, default=0, help="random seed of logits and IoUs")
    parser.add_argument("--out", type=Path, help="result file")
    parser.add_argument("--read", type=Path, metavar="RESULTS.json", help="measure nothing, show this result")
    parser.add_argument("--show", choices=list(QUANTITIES), default="time", help="with --read: table to print")
    parser.add_argument("--figure", type=Path, help="file for a figure of time and operations on the paper's grid")
    return parser


if __name__ == "__main__":
    results.run(make_parser(), main, sys.argv[1:])
