"""Train a detector: a thin layer over mmengine's Runner."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from brs_detr.checkpoints.starting_weights import fetch_weights
from brs_detr.config.config import explain_unknown_option, explain_unknown_type, find_config, load_config
from brs_detr.config.folder_data import check_data, config_class_names, split_of, use_config_data, use_folder
from brs_detr.errors import UserError
from brs_detr.evaluation.loaders import mend_workers
from brs_detr.run.console import make_console
from brs_detr.run.distributed import join_processes, num_processes
from brs_detr.run.run_folder import RunFolder
from brs_detr.run.run_lock import hold_run
from brs_detr.run.run_record import describe_run, end_record, read_record, write_record
from brs_detr.training.count_unreadable import CountUnreadable
from brs_detr.training.deterministic import deterministic as fixed_order
from brs_detr.training.guard_numbers import GuardNumbers
from brs_detr.training.keep_checkpoints import KeepLastAndBest
from brs_detr.training.loggers import set_loggers
from brs_detr.training.progress import TrainingProgress
from brs_detr.training.resume import checkpoint_to_resume, require_resumable
from brs_detr.training.schedule import set_epochs
from brs_detr.training.seeds import draw_by_place
from brs_detr.training.share_buffers import ShareBuffers
from brs_detr.training.stop_signals import StopSignals

if TYPE_CHECKING:
    from mmengine import Config

    from brs_detr.training.quiet_runner import QuietRunner

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
        return RunFolder(self.work_dir).best

    @property
    def last_checkpoint(self) -> Path:
        """Everything that `resume=True` needs."""
        return RunFolder(self.work_dir).last


@dataclass(frozen=True)
class Job:
    """What to train besides the config itself.

    Args:
        config_name: as the user gave it.
        data: data set of the user, None for the one that the config names.
        work_dir: folder of the run.
        resume: go on with the run in it.
        amp: run the forward pass in bfloat16.
        seed: of every random choice; None draws one.
        deterministic: sum in a fixed order on a GPU too.
        overrides: assignments of the user, for the record.
        services: of `brs_detr.training.loggers.SERVICES`.
        trust_file: run the code that the checkpoint asks for that is resumed.
    """

    config_name: str
    data: str | Path | None
    work_dir: Path
    resume: bool = False
    amp: bool = False
    seed: int | None = None
    deterministic: bool = False
    overrides: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    trust_file: bool = False


class Preparation:
    """What is done between the finding of the data and the training: nothing, unless a subclass says so."""

    def prepare_config(self, config: Config) -> None:
        """Change the config, which knows the data by now."""

    def prepare_runner(self, runner: QuietRunner) -> None:
        """Change the model of a run that is not resumed, such as by loading weights."""

    def facts(self) -> dict[str, Any]:
        """What `run.json` should tell of it, as plain values."""
        return {}


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
    deterministic: bool = False,
    epochs: int | None = None,
    overrides: Iterable[str] = (),
    services: Iterable[str] = (),
    console: Console | None = None,
    trust_file: bool = False,
) -> TrainedRun:
    """Train a config, keeping the last and the best checkpoint.

    Started by `torchrun`, every process trains its share of each batch.

    Args:
        config: a name from `brs-detr configs`, or the path of a config file.
        data: data set in COCO, Pascal VOC or YOLO format; the model is re-made for its classes. By default what the
            config names.
        work_dir: where to write; `work_dirs/<config>` by default.
        resume: go on from `last.pth` in `work_dir`.
        amp: run the forward pass in bfloat16.
        seed: of every random choice. By default a new one is drawn; it is printed and stored.
        deterministic: the same seed gives the same bits on a GPU too, which costs time; a CPU does so anyhow.
        epochs: how long to train, at least 1; the learning rate schedule is stretched to it.
        overrides: assignments `key=value` that change single keys of the config.
        services: that losses and metrics are sent to, of `brs_detr.training.loggers.SERVICES`.
        console: where progress is shown; by default the first process prints to standard output.
        trust_file: run the code that the checkpoint asks for that is resumed.

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
    if not resume:
        fetch_weights(resolved)
    job = Job(
        str(config), data, work_dir, resume, amp, seed, deterministic, tuple(overrides), tuple(services), trust_file
    )
    return run_job(job, resolved, console)


def run_job(job: Job, config: Config, console: Console, preparation: Preparation | None = None) -> TrainedRun:
    """Train a resolved config.

    Args:
        job: what to do.
        config: changed in place.
        console: where progress is shown.
        preparation: what else is done before.

    Raises:
        UserError: see `train`.
    """
    run = RunFolder(job.work_dir)
    join_processes(config)
    with hold_run(run, console):
        runner, record = _prepare(job, config, run, console, preparation or Preparation())
        write_record(run, record)
        console.print(f"Seed {record['seed']}. Writing to {job.work_dir}/ (log: train.log)")
        with fixed_order(job.deterministic):
            best_ap = _fit(runner, run, record, console)
    if getattr(runner.train_loop, "stop_training", False):
        console.print(f"Stopped after epoch {runner.epoch}: the AP had not got better for a while.")
    return TrainedRun(job.work_dir, record["seed"], best_ap)


def _prepare(
    job: Job, config: Config, run: RunFolder, console: Console, preparation: Preparation
) -> tuple[QuietRunner, dict[str, Any]]:
    """Everything before the first step: the runner, and what `run.json` tells of the run."""
    with _removed_on_failure(run):
        _require_usable(run, job.resume)
        start = checkpoint_to_resume(run, console, job.trust_file) if job.resume else None
        _find_data(job, config, run, console)
        seed = _choose_seed(job.seed, run if job.resume else None)
        preparation.prepare_config(config)
        mend_workers(config)
        _prepare_for_runner(config, job, seed, start)
        record = {**_describe(job, config, seed), **preparation.facts()}
        runner = _build_runner(config)
        if not job.resume:
            preparation.prepare_runner(runner)
    return runner, record


def _find_data(job: Job, config: Config, run: RunFolder, console: Console) -> None:
    """Point the config at the data; those of a run that goes on have to know its classes."""
    class_names = (read_record(run).get("class_names") or None) if job.resume else None
    if job.data is not None:
        use_folder(config, job.data, run.data, console, class_names)
    else:
        use_config_data(config, class_names)
        check_data(config, ("train", "val"), console)


def _fit(runner: QuietRunner, run: RunFolder, record: dict[str, Any], console: Console) -> float:
    """Train, and write down how it ended."""
    keeper = KeepLastAndBest()
    runner.register_hook(keeper)
    unreadable = CountUnreadable(console)
    runner.register_hook(GuardNumbers(console))
    runner.register_hook(unreadable)
    runner.register_hook(ShareBuffers())
    status = "failed"
    try:
        with TrainingProgress(console, keeper) as progress, StopSignals(console) as signals:
            runner.register_hook(progress)
            runner.register_hook(signals)
            runner.train()
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    except Exception as error:
        explained = _explain_worker(error)
        if explained is None:
            raise
        raise explained from None
    finally:
        best_ap = max(keeper.best, -1.0)
        results = {"best_ap": best_ap, "best_epoch": keeper.best_epoch, "epochs": runner.epoch}
        counts = {
            "skipped_steps": getattr(runner.optim_wrapper, "num_skipped", 0),
            "unreadable_images": len(unreadable.faults),
        }
        end_record(run, record, status, **results, **{name: count for name, count in counts.items() if count})
    return best_ap


def _explain_worker(error: BaseException | None) -> UserError | None:
    """What it means that a process that loads data is gone; None if it is about something else.

    PyTorch raises it from a signal handler, in whatever is running, which may make another error of it.
    """
    while error is not None and not re.search(r"DataLoader worker \(pid.*\) (exited|is killed)", str(error)):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    return UserError(
        "A process that loads images was ended from outside, which is what Linux does when the memory is full.",
        "Go on with --resume --set train_dataloader.num_workers=1, or with more memory (shared memory in a container).",
    )


def _describe(job: Job, config: Config, seed: int) -> dict[str, Any]:
    phases = ("train", "val")
    return describe_run(
        config_name=job.config_name,
        config=config,
        class_names=config_class_names(config),
        data=str(job.data) if job.data else None,
        splits={phase: split_of(config, phase) for phase in phases},
        seed=seed,
        amp=job.amp,
        deterministic=job.deterministic,
        overrides=job.overrides,
    )


def _build_runner(config: Config) -> QuietRunner:
    from brs_detr.training.quiet_runner import QuietRunner
    from brs_detr.training.registry import register

    register()
    try:
        return QuietRunner.from_cfg(config)
    except KeyError as error:
        raise explain_unknown_type(error) or error from None
    except TypeError as error:
        raise explain_unknown_option(error) or error from None


def _require_usable(run: RunFolder, resume: bool) -> None:
    if resume:
        require_resumable(run)
    elif run.can_resume or run.best.exists():
        raise UserError(
            f"{run.path} already holds a training run.",
            "Add --resume to go on with it, or write elsewhere with --work-dir DIR.",
        )


def _choose_seed(seed: int | None, resumed: RunFolder | None) -> int:
    from mmengine.dist import sync_random_seed

    if resumed is not None:
        return int(read_record(resumed)["seed"])
    return sync_random_seed() if seed is None else seed


def _require_shareable(config: Config) -> None:
    if config.get("fsdp") and any(hook["type"] == "EMAHook" for hook in config.get("custom_hooks") or []):
        raise UserError("A moving mean cannot be kept of a model that is shared out.", "Add --no-ema, or fsdp=False.")


def _prepare_for_runner(config: Config, job: Job, seed: int, start: Path | None) -> None:
    _require_shareable(config)
    config.work_dir = str(job.work_dir)
    draw_by_place(config)
    config.randomness = {**config.get("randomness", {}), "seed": seed}
    if start is not None:
        config.resume, config.load_from = True, str(start)
    if job.amp:
        config.optim_wrapper.type = "AutocastOptimWrapper"
    elif config.optim_wrapper.get("type", "OptimWrapper") == "OptimWrapper":
        config.optim_wrapper.type = "GuardedOptimWrapper"
    config.default_hooks = {**config.get("default_hooks", {}), "checkpoint": None}  # ours keeps the last and the best
    # mmengine keeps loggers, message hubs and visualizers by name: two runs of one process must not share them.
    config.experiment_name = f"{job.work_dir.name}-{next(_run_numbers)}"
    set_loggers(config, job.services, config.train_dataloader.batch_size * num_processes(), job.work_dir.name)
    config.visualizer.pop("name", None)


@contextmanager
def _removed_on_failure(run: RunFolder) -> Iterator[None]:
    """Leave nothing behind in a new folder when the data or the model cannot be used."""
    is_new = set(run.path.iterdir()) <= {run.lock}
    try:
        yield
    except Exception:
        if is_new:
            _close_loggers()
            for path in set(run.path.iterdir()) - {run.lock}:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        raise


def _close_loggers() -> None:
    """End the thread of TensorBoard, which would go on writing into a folder that is gone."""
    from mmengine.visualization import Visualizer

    with suppress(RuntimeError):  # there is none yet
        Visualizer.get_current_instance().close()
