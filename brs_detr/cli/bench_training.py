"""`brs-detr bench cost` and `bench train-step`: what training costs, on paper and measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brs_detr.cli.export import FrameSize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console


@click.command("cost", short_help="Parameters, operations, memory and hours of a training, on paper.")
@click.argument("configs", nargs=-1, metavar="[CONFIG]...")
@click.option("--size", type=FrameSize(), default="800x1333", show_default=True, help="Of images.")
@click.option("--images", type=click.IntRange(1), default=2, show_default=True, help="Of a GPU.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file.")
def cost(configs: tuple[str, ...], size: tuple[int, int], images: int, out: Path | None) -> None:
    """Count what a training step computes and keeps, by shapes alone; needs no GPU, no data and no memory.

    By default the six models of Table 5. Hours are predicted from the paper's 0.69 s an iteration for BRS-DETR with
    ResNet-50 on 8 A100, scaled by the operations of a step: an estimate.
    """
    from brs_detr.config.config import load_config
    from brs_detr.reproduce.cost import REFERENCE, predicted_hours, training_cost
    from brs_detr.reproduce.cost_tables import COST_HEAD, cost_rows
    from brs_detr.reproduce.tables import trained_configs
    from brs_detr.run.bars import track
    from brs_detr.run.console import make_console
    from brs_detr.run.run_folder import write_whole

    console = make_console()
    reference = training_cost(load_config(REFERENCE))
    records = []
    for name in track(configs or trained_configs(), "models", console):
        of_step = training_cost(load_config(name), images, size)
        hours = predicted_hours(training_cost(load_config(name)), reference)
        records.append(
            {
                "config": name,
                "num_images": images,
                "height": size[0],
                "width": size[1],
                **dataclasses.asdict(of_step),
                "state_bytes": of_step.state_bytes,
                "hours_on_8_a100": hours,
            }
        )
    _print(COST_HEAD, cost_rows(records), console)
    if out is not None:
        write_whole(out, json.dumps({"records": records}, indent=1) + "\n")
        console.print(f"Written to {out}")


@click.command("train-step", short_help="Seconds and memory of a training step, by loss.")
@click.option("--config", "configs", multiple=True, help="With BRS Loss; repeatable. [default: those of Table 5]")
@click.option("--suite", type=click.Choice(["paper"]), help="The detectors of Tables 1, 2, 3, 7 and 8 instead.")
@click.option("--loss", "losses", multiple=True, type=click.Choice(["score-based", "loop", "bucketed", "exact"]))
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.option("--images", type=click.IntRange(1), default=2, show_default=True, help="Of a step.")
@click.option("--size", type=FrameSize(), default="800x1333", show_default=True, help="Of images.")
@click.option("--objects", type=click.IntRange(0), default=10, show_default=True, help="In each image.")
@click.option("--with", "options", multiple=True, metavar="A+B", help="Also with amp, checkpointing, separate.")
@click.option("--repeats", type=click.IntRange(1), default=9, show_default=True, help="Of a step, at most.")
@click.option("--seconds", type=click.FloatRange(0), default=20.0, show_default=True, help="For the repeats of each.")
@click.option("--out", type=click.Path(path_type=Path), help="[default: a file for the device in benchmarks/results]")
def train_step(
    configs: tuple[str, ...],
    suite: str | None,
    losses: tuple[str, ...],
    device: str,
    images: int,
    size: tuple[int, int],
    objects: int,
    options: tuple[str, ...],
    repeats: int,
    seconds: float,
    out: Path | None,
) -> None:
    """Measure one step of training with random images and objects: forward, backward and update.

    Losses take turns: score-based (the plain detector), and Rank & Sort Loss by its loop, bucketed, and exact. The
    share of the losses is measured by repeating them alone on the tensors that they had. The file is written after
    every setting. `separate` decodes auxiliary queries in passes of their own.

    \b
    Examples:
      brs-detr bench train-step --config brs-co-deformable-detr_r18_1xb4-12e_coco --size 240x320
      brs-detr bench train-step --device cuda --with amp --with amp+checkpointing --with separate
      brs-detr bench train-step --device cuda --suite paper --images 4
    """
    from brs_detr.bench.environment import describe_environment, find_device
    from brs_detr.bench.results import default_path, require_writable
    from brs_detr.reproduce import tables
    from brs_detr.reproduce.cost_tables import OPTIONS, STEP_HEAD, SUITE_HEAD, step_rows, suite_rows
    from brs_detr.reproduce.train_step import LOSSES, Setting, bench_train_step
    from brs_detr.run.console import make_console
    from brs_detr.run.run_folder import write_whole
    from brs_detr.training.registry import register

    place = find_device(device)
    switches = [_switches(text, OPTIONS) for text in ("", *options)]
    register()
    environment = describe_environment(place)
    out = out or default_path(environment, "train-step-suite" if suite else "train-step")
    require_writable(out)
    console = make_console()
    records: list[dict[str, Any]] = []
    chosen = configs or [name for name in tables.trained_configs() if name.startswith("brs-")]
    for config in [str(row.config) for row in tables.suite()] if suite else chosen:
        for switched in switches:
            setting = Setting(config, place, images, size, objects, **switched)
            for record in bench_train_step(setting, losses or tuple(LOSSES), repeats, seconds):
                records.append(dataclasses.asdict(record))
                console.print(_line(records[-1]))
            write_whole(out, json.dumps({"environment": environment, "records": records}, indent=1) + "\n")
    _print(STEP_HEAD, step_rows(records), console)
    if suite:
        _print(SUITE_HEAD, suite_rows(records), console)
    console.print(f"Written to {out}")


def _switches(text: str, known: Sequence[str]) -> dict[str, bool]:
    names = [name for name in text.split("+") if name]
    odd = [name for name in names if name not in known]
    if odd:
        raise click.UsageError(f"--with {text}: there is no {odd[0]}, only {', '.join(known)}.")
    return dict.fromkeys(names, True)


def _line(record: dict[str, Any]) -> str:
    from brs_detr.reproduce.cost_tables import options_of

    share = "" if record["loss_share"] is None else f", {record['loss_share']:.1%} of it in the losses"
    taken = record["failure"] or f"{record['median_s']:.3f} s{share}"
    return f"{record['config']} {record['loss']} {options_of(record)}: {taken}"


def _print(head: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in head:
        is_text = column in ("model", "detector", "with", "loss")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
