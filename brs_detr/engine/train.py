"""Train a detector: a thin layer over mmengine's Runner."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from brs_detr.engine.config import find_config, load_config
from brs_detr.engine.console import make_console
from brs_detr.engine.distributed import join_processes
from brs_detr.engine.folder_data import check_data, use_config_data, use_folder
from brs_detr.engine.keep_checkpoints import BEST, LAST, KeepLastAndBest
from brs_detr.engine.loaders import mend_workers
from brs_detr.engine.progress import TrainingProgress
from brs_detr.engine.registry import explain_unknown_option, explain_unknown_type
from brs_detr.engine.run_record import read_seed, write_record
from brs_detr.engine.schedule import set_epochs
from brs_detr.errors import UserError

if TYPE_CHECKING:
    from mmengine import Config
    from mmengine.runner import Runner

_run_numbers = itertools.count()


@dataclass(frozen=True)
class TrainedRun:
    """What a training run leaves. `best_ap` is -1 and `best_checkpoint` missing if it was never evaluated."""

    work_dir: Path
    seed: int
    best_ap: float

    @property
    def best_checkpoint(self) -> Path:
        """Weights, class names and config of the epoch with the best AP."""
        return self.work_dir / BEST

    @property
    def last_checkpoint(self) -> Path:
        """Everything that `resume=True` needs."""
        return self.work_dir / LAST


def default_work_dir(config: str | Path) -> Path:
    """Where a config trains to when nothing is said: `work_dirs/<name of the config>`."""
    return Path("work_dirs") / Path(config).stem


def train(
    config: str | Path,
    data: str | Path | None = None,
    work_dir: str | Path | None = None,
    *,
    resume: bool = False,
    amp: bool = False,
    seed: int | None = None,
    epochs: int | None = None,
    overrides: Iterable[str] = (),
    console: Console | None = None,
) -> TrainedRun:
    """Train a config, keeping the last and the best checkpoint.

    Started by `torchrun`, every process trains its share of each batch.

    Args:
        config: a name from `brs-detr configs`, or the path of a config file.
        data: data set in COCO format; the model is re-made for its classes. By default what the config names.
        work_dir: where to write; `work_dirs/<config>` by default.
        resume: go on from `last.pth` in `work_dir`.
        amp: run the forward pass in bfloat16.
        seed: of every random choice. By default a new one is drawn; it is printed and stored.
        epochs: how long to train, at least 1; the learning rate schedule is stretched to it.
        overrides: assignments `key=value` that change single keys of the config.
        console: where progress is shown; by default the first process prints to standard output.

    Returns:
        Where the checkpoints are, and the best AP.

    Raises:
        UserError: the config, the data or an override cannot be used, `work_dir` already holds a run, or there is
            nothing to resume.
    """
    console = console or make_console()
    work_dir = Path(work_dir or default_work_dir(config))
    resolved = load_config(find_config(config), overrides)
    if epochs is not None:
        set_epochs(resolved, epochs)
    _require_usable(work_dir, resume)
    if data is not None:
        use_folder(resolved, data)
    else:
        use_config_data(resolved)
    check_data(resolved, ("train", "val"), console)
    mend_workers(resolved)
    join_processes(resolved)
    seed = _choose_seed(seed, work_dir if resume else None)
    _prepare_for_runner(resolved, work_dir, seed, resume, amp)
    with _removed_on_failure(work_dir):
        runner = _build_runner(resolved)
    write_record(
        work_dir, config=str(config), data=str(data) if data else None, seed=seed, amp=amp, overrides=overrides
    )
    console.print(f"Seed {seed}. Writing to {work_dir}/ (log: train.log)")
    return TrainedRun(work_dir, seed, _run(runner, console))


def _run(runner: Runner, console: Console) -> float:
    keeper = KeepLastAndBest()
    runner.register_hook(keeper)
    with TrainingProgress(console, keeper) as progress:
        runner.register_hook(progress)
        runner.train()
    return max(keeper.best, -1.0)


def _build_runner(config: Config) -> Runner:
    from brs_detr.engine.quiet_runner import QuietRunner

    try:
        return QuietRunner.from_cfg(config)
    except KeyError as error:
        raise explain_unknown_type(error) or error from None
    except TypeError as error:
        raise explain_unknown_option(error) or error from None


def _require_usable(work_dir: Path, resume: bool) -> None:
    holds_run = any((work_dir / name).exists() for name in (LAST, BEST))
    if resume and not (work_dir / LAST).exists():
        raise UserError(f"There is nothing to resume: no {LAST} in {work_dir}.", "Start without --resume.")
    if holds_run and not resume:
        raise UserError(
            f"{work_dir} already holds a training run.",
            "Add --resume to go on with it, or write elsewhere with --work-dir DIR.",
        )


def _choose_seed(seed: int | None, resumed: Path | None) -> int:
    from mmengine.dist import sync_random_seed

    if resumed is not None:
        return read_seed(resumed)
    return sync_random_seed() if seed is None else seed


def _prepare_for_runner(config: Config, work_dir: Path, seed: int, resume: bool, amp: bool) -> None:
    config.work_dir = str(work_dir)
    config.randomness = {**config.get("randomness", {}), "seed": seed}
    if resume:
        config.resume, config.load_from = True, str(work_dir / LAST)
    if amp:
        config.optim_wrapper.type = "AutocastOptimWrapper"
    config.default_hooks = {**config.get("default_hooks", {}), "checkpoint": None}  # ours keeps the last and the best
    # mmengine keeps loggers, message hubs and visualizers by name: two runs of one process must not share them.
    config.experiment_name = f"{work_dir.name}-{next(_run_numbers)}"
    config.setdefault("visualizer", {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}]})
    config.visualizer.pop("name", None)


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    """Leave no new folder behind when the model of a config cannot be built."""
    is_new = not folder.exists()
    try:
        yield
    except Exception:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
