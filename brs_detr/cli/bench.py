"""`brs-detr bench`: what the losses cost."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

import brs_detr
from brs_detr.bench.table import QUANTITIES, SHORT_NAMES
from brs_detr.cli.bench_training import cost, train_step
from brs_detr.cli.export import FrameSize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from brs_detr.bench.grid import Cell
    from brs_detr.bench.losses import Settings
    from brs_detr.bench.results import BenchResult, Record

RESULT = click.argument("result_file", metavar="RESULTS.json", type=click.Path(path_type=Path))
DTYPES = ["float32", "float64", "float16", "bfloat16"]


@click.group("bench", short_help="Measure what the losses and detectors cost.")
def command() -> None:
    """Measure what the ranking losses cost beside their earlier forms, focal loss and BCE, and how fast detectors are.

    \b
    Examples:
      brs-detr bench losses --device cpu
      brs-detr bench losses --suite co-detr --only exact --only focal
      brs-detr bench plot RESULTS.json --out losses.png
      brs-detr bench table RESULTS.json --show memory
      brs-detr bench inference model.onnx work_dirs/traffic_r18 --size 480x640 --batch 1 --batch 4
      brs-detr bench cost
      brs-detr bench train-step --config brs-co-deformable-detr_r18_1xb4-12e_coco --size 240x320
    """


command.add_command(cost)
command.add_command(train_step)


@command.command("losses", short_help="Time, memory and operations of each loss.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.option("--suite", type=click.Choice(["paper", "co-detr", "all"]), default="all", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="[default: a file for the device in benchmarks/results]")
@click.option("--figure", type=click.Path(path_type=Path), help="Also draw the figure of `bench plot` here.")
@click.option(
    "--only", "names", type=click.Choice(list(SHORT_NAMES)), multiple=True, help="Measure this one; may be repeated."
)
@click.option("--max-logits", type=click.IntRange(1), help="Leave larger sizes out, for a quick look.")
@click.option("--repeats", type=click.IntRange(1), default=31, show_default=True, help="At most, of each loss.")
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    default=0.5,
    show_default=True,
    help="For the repeats of each loss at a size.",
)
@click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True, help="Of the logits.")
@click.option("--threads", type=click.IntRange(1), help="Of the CPU. [default: as PyTorch chooses]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the logits and the IoU.")
def losses(
    device: str,
    suite: str,
    out: Path | None,
    figure: Path | None,
    names: tuple[str, ...],
    max_logits: int | None,
    repeats: int,
    seconds: float,
    dtype: str,
    threads: int | None,
    seed: int,
) -> None:
    """Measure RS Loss by its loop, by Algorithm 2 with its matrices, and as we compute it, beside focal loss and BCE.

    Sizes are the synthetic grid of the paper and the calls of Co-DETR at two images. Losses take turns on the same
    tensors; each is made at least once, however long it takes. Writes a JSON file with times, memory and operations.
    """
    import torch

    from brs_detr.bench.environment import device_name, find_device
    from brs_detr.bench.grid import select_cells
    from brs_detr.bench.losses import Settings
    from brs_detr.bench.results import default_path, require_writable, write_result
    from brs_detr.run.console import make_console

    place = find_device(device)
    cells = select_cells(suite, max_logits)
    settings = Settings(place, getattr(torch, dtype), names or tuple(SHORT_NAMES), repeats, seconds, seed)
    out = out or default_path({"device_name": device_name(place), "torch": torch.__version__})
    require_writable(out)
    if figure is not None:
        _require_drawable(figure, cells)
    if threads is not None:
        torch.set_num_threads(threads)
    console = make_console()
    result = _measure(cells, settings, console)
    write_result(result, out)
    _print_tables(result, console)
    console.print(f"Written to {out}")
    if figure is not None:
        _draw(result, figure, console)


@command.command("plot", short_help="Draw a result.")
@RESULT
@click.option("--out", type=click.Path(path_type=Path), help="Picture. [default: beside the result, as .png]")
def plot(result_file: Path, out: Path | None) -> None:
    """Draw time and operations of the paper's grid against the number of logits, after Fig. S.2 of the paper."""
    from brs_detr.bench.results import read_result
    from brs_detr.run.console import make_console

    _draw(read_result(result_file), out or result_file.with_suffix(".png"), make_console())


@command.command("table", short_help="Print a result as Markdown.")
@RESULT
@click.option("--show", type=click.Choice(list(QUANTITIES)), default="time", show_default=True)
def table(result_file: Path, show: str) -> None:
    """Print a result as a table in Markdown, as the documentation holds it."""
    from brs_detr.bench.results import read_result
    from brs_detr.bench.table import markdown_table
    from brs_detr.run.console import make_console

    make_console().print(markdown_table(read_result(result_file), show))


@command.command("inference", short_help="Latency, throughput and memory of detectors.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", type=click.Path(path_type=Path, exists=True))
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.option("--size", "sizes", multiple=True, type=FrameSize(), help="Of decoded images. [default: 480x640]")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(1), help="Images at a time. [default: 1]")
@click.option("--repeats", type=click.IntRange(1), default=30, show_default=True, help="Of a call, at most.")
@click.option("--seconds", type=click.FloatRange(0), default=20.0, show_default=True, help="For the repeats.")
@click.option("--threads", type=click.IntRange(1), help="Of the CPU. [default: as the library chooses]")
@click.option("--out", type=click.Path(path_type=Path), help="[default: a file for the device in benchmarks/results]")
def inference(
    models: tuple[Path, ...],
    device: str,
    sizes: tuple[tuple[int, int], ...],
    batches: tuple[int, ...],
    repeats: int,
    seconds: float,
    threads: int | None,
    out: Path | None,
) -> None:
    """Measure exported detectors and checkpoints, from decoded images to detections.

    Every model, size and batch has a process of its own. Prints percentiles of the latency, the share of the model in
    it, images a second and the most memory that the process held, and writes a JSON file.
    """
    import onnxruntime

    from brs_detr.bench.environment import describe_environment, find_device
    from brs_detr.bench.results import default_path, require_writable
    from brs_detr.export.latency import Workload, measure_in_process
    from brs_detr.export.latency_table import latency_table
    from brs_detr.run.bars import track
    from brs_detr.run.console import make_console
    from brs_detr.run.run_folder import write_whole

    console = make_console()
    versions = {"brs_detr": brs_detr.__version__, "onnxruntime": onnxruntime.__version__}
    environment = {**describe_environment(find_device(device)), **versions}
    out = out or default_path(environment, "inference")
    require_writable(out)
    workloads = [
        Workload(model, device, size, batch, repeats, seconds, threads)
        for model in models
        for size in sizes or ((480, 640),)
        for batch in batches or (1,)
    ]
    records = [asdict(measure_in_process(workload)) for workload in track(workloads, "models", console)]
    write_whole(out, json.dumps({"environment": environment, "records": records}, indent=1) + "\n")
    console.print(latency_table(records, framed=console.is_terminal))
    for record in records:
        if record["failure"] is not None:
            size, batch = f"{record['height']} x {record['width']}", record["batch_size"]
            console.print(f"{record['model']}, {size}, batch of {batch}: {record['failure']}")
    console.print(f"Written to {out}")


def _measure(cells: Sequence[Cell], settings: Settings, console: Console) -> BenchResult:
    from brs_detr.bench.environment import describe_environment
    from brs_detr.bench.implementations import DELTA
    from brs_detr.bench.losses import bench_losses
    from brs_detr.bench.results import BenchResult
    from brs_detr.run.bars import counter

    environment = {
        **describe_environment(settings.device),
        "brs_detr": brs_detr.__version__,
        "dtype": str(settings.dtype).removeprefix("torch."),
        "delta": DELTA,
        "seed": settings.seed,
    }
    records: list[Record] = []
    with counter("sizes", console) as progress:
        progress(0, len(cells))
        for done, of_cell in enumerate(bench_losses(cells, settings), start=1):
            records += of_cell
            progress(done, len(cells))
            if not console.is_terminal:
                console.print(f"{done}/{len(cells)}  {_line(of_cell)}")
    return BenchResult(environment, records)


def _line(records: Sequence[Record]) -> str:
    times = (
        f"{record.implementation} {'-' if record.median_s is None else f'{1000 * record.median_s:.3g} ms'}"
        for record in records
    )
    return f"{records[0].name}: {', '.join(times)}"


def _print_tables(result: BenchResult, console: Console) -> None:
    from brs_detr.bench.table import console_tables, skipped

    for quantity in ("time", "bandwidth") if result.environment["device"] == "cuda" else ("time",):
        for shown in console_tables(result, quantity, framed=console.is_terminal):
            console.print(shown)
    for line in skipped(result):
        console.print(f"Skipped: {line}")


def _require_drawable(figure: Path, cells: Sequence[Cell]) -> None:
    """Refuse a figure that cannot be drawn, before anything takes time."""
    from brs_detr.bench.results import require_writable
    from brs_detr.report.loss_figure import require_picture

    require_picture(figure)
    require_writable(figure)
    if all(cell.suite != "paper" for cell in cells):
        raise click.UsageError("--figure draws the paper's grid: measure it with --suite paper or all.")


def _draw(result: BenchResult, path: Path, console: Console) -> None:
    from brs_detr.report.loss_figure import plot_losses

    plot_losses(result, path)
    console.print(f"Drawn in {path}")
