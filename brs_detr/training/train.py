"""Train and fine-tune detectors: resolve what was asked for, then run it on mmengine's Runner."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from brs_detr.checkpoints.load_weights import (
    ClassChange,
    find_class_layers,
    load_table,
    load_weights,
    remade_layers,
    shared_classes,
)
from brs_detr.checkpoints.weights_file import Weights
from brs_detr.config.config import default_model, explain_unknown_option, explain_unknown_type
from brs_detr.config.folder_data import inner_dataset
from brs_detr.errors import UserError
from brs_detr.run.console import make_console
from brs_detr.run.distributed import join_processes
from brs_detr.run.locks import hold_run
from brs_detr.run.run_folder import RunFolder
from brs_detr.run.run_record import end_record, write_record
from brs_detr.training.checkpoints import KeepLastAndBest, set_damaged_aside
from brs_detr.training.guard import GuardNumbers
from brs_detr.training.hooks import ShareBuffers
from brs_detr.training.progress import TrainingProgress
from brs_detr.training.resolve import Request, ResolvedRun, print_run, resolve
from brs_detr.training.seeds import deterministic as deterministic_kernels
from brs_detr.training.train_loop import StopSignals
from brs_detr.training.training_samples import CountUnreadable

if TYPE_CHECKING:
    from brs_detr.training.quiet_runner import QuietRunner


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


def default_work_dir(config: str | Path) -> Path:
    """Where a training writes by default: `work_dirs/<config>`."""
    return Path("work_dirs") / Path(config).stem


def default_finetune_dir(data: str | Path, model: str | None) -> Path:
    """Where a fine-tuning writes by default: `work_dirs/<data>_<model>`."""
    folder = Path(data).resolve()
    name = folder.parent.name if folder.is_file() else folder.name
    return Path("work_dirs") / f"{name}_{Path(model or default_model()[0]).stem}"


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
        resume: continue from `last.pth` in `work_dir`.
        amp: run the forward pass in bfloat16.
        seed: of every random choice; by default one is drawn, printed and stored.
        deterministic: get the same bits from the same seed on a GPU too, which costs time; a CPU does so anyhow.
        epochs: length of the training, at least 1; the learning rate schedule is stretched to it.
        overrides: assignments `key=value` that change single keys of the config.
        services: loggers to send losses and metrics to, of `brs_detr.training.loggers.SERVICES`.
        console: where progress is shown; by default the first process prints to standard output.
        trust_file: run code that the checkpoint to resume from asks for.

    Returns:
        Where the checkpoints are, and the best AP.

    Raises:
        UserError: the config, the data or an override cannot be used, `work_dir` already holds a run, or there is
            nothing to resume.
    """
    work_dir = Path(work_dir or default_work_dir(config))
    options = (resume, amp, seed, deterministic, tuple(overrides), tuple(services), trust_file)
    request = Request(str(config), data, work_dir, *options, epochs=epochs)
    return start(request, console or make_console())


def finetune(
    data: str | Path,
    model: str | None = None,
    work_dir: str | Path | None = None,
    *,
    weights: str | None = None,
    batch: int | Literal["auto"] | None = None,
    settings: Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
    resume: bool = False,
    amp: bool = False,
    seed: int | None = None,
    deterministic: bool = False,
    services: Iterable[str] = (),
    console: Console | None = None,
    trust_file: bool = False,
) -> TrainedRun:
    """Train a detector on a data set by the recipe for its size.

    Args:
        data: data set in COCO, Pascal VOC or YOLO format.
        model: short name (`brs_detr.config.config.MODELS`), name of a config, or file; by default the one
            for this machine.
        work_dir: where to write; `work_dirs/<data>_<model>` by default.
        weights: what to start from, see `brs_detr.checkpoints.weights_file.read_weights`; `none` for random
            weights. By default what the model's config names.
        batch: images that each process holds at a time, or `auto` for as many as fit into the GPU; by default as the
            model's config says.
        settings: values for the recipe, by name of the field of `brs_detr.recipes.recipe.Recipe`.
        overrides: assignments `key=value` for the recipe, or for the config of the model.
        resume: continue from `last.pth` in `work_dir`, with the model, recipe and batch of that run.
        amp: run the forward pass in bfloat16.
        seed: of every random choice; by default one is drawn, printed and stored.
        deterministic: get the same bits from the same seed on a GPU too, which costs time.
        services: loggers to send losses and metrics to, of `brs_detr.training.loggers.SERVICES`.
        console: where progress is shown; by default the first process prints to standard output.
        trust_file: run code that the weights, or the run that is resumed, ask for.

    Raises:
        UserError: the model, weights, data or a setting cannot be used, `work_dir` already holds a run, or there is
            nothing to resume.
    """
    work_dir = Path(work_dir or default_finetune_dir(data, model))
    options = (resume, amp, seed, deterministic, tuple(overrides), tuple(services), trust_file)
    request = Request(
        model, data, work_dir, *options, by_recipe=True, weights=weights, batch=batch, settings=settings or {}
    )
    return start(request, console or make_console())


def start(request: Request, console: Console) -> TrainedRun:
    """Resolve a request and execute the run, in a folder that no other training may use meanwhile.

    Raises:
        UserError: see `train` and `finetune`.
    """
    from mmengine.config import ConfigDict

    folder, processes = RunFolder(request.work_dir), ConfigDict()
    join_processes(processes)
    with hold_run(folder, console):
        with _nothing_left_on_failure(folder):
            run = resolve(request, console, processes=processes)
            runner = _build_runner(run, console)
        return execute(run, runner, console)


def _build_runner(run: ResolvedRun, console: Console) -> QuietRunner:
    """The runner of a run, its model with the starting weights."""
    from brs_detr.training.quiet_runner import QuietRunner

    if run.plan is not None:
        print_run(run, console)
    try:
        runner = QuietRunner.from_cfg(run.config)
    except KeyError as error:
        raise explain_unknown_type(error) or error from None
    except TypeError as error:
        raise explain_unknown_option(error) or error from None
    if run.weights is not None and run.weights.weights is not None:
        _load_weights(runner, run.weights.weights, run.weights.source, console)
    return runner


def _load_weights(runner: QuietRunner, weights: Weights, source: str, console: Console) -> None:
    """Load starting weights as far as they fit, and print what fits."""
    runner.initialise_model()
    class_names = tuple(inner_dataset(runner.cfg, "train").metainfo["classes"])
    layers = find_class_layers(runner.cfg.model) if weights.start == "detector" else {}
    classes = ClassChange(layers, class_names, weights.class_names)
    account = load_weights(runner.bare_model, weights.state_dict, classes, source)
    console.print(load_table(account))
    if account.remade:
        console.print(f"Re-made: {', '.join(remade_layers(account))}", markup=False)
    known = [class_names[new] for _, new in shared_classes(classes.old_names, classes.new_names)]
    if known and not layers.keys().isdisjoint(account.remade):
        console.print(f"What was learnt of these classes is kept: {', '.join(known)}", markup=False)


def execute(run: ResolvedRun, runner: QuietRunner, console: Console) -> TrainedRun:
    """Train, and write down how it ended."""
    folder, record = run.folder, run.record
    if run.checkpoint == folder.previous:
        set_damaged_aside(folder)
    write_record(folder, record)
    console.print(f"Seed {record['seed']}. Writing to {folder.path}/ (log: train.log)")
    keeper, unreadable = KeepLastAndBest(), CountUnreadable(console)
    for hook in (keeper, GuardNumbers(console), unreadable, ShareBuffers()):
        runner.register_hook(hook)
    status = "failed"
    try:
        with (
            deterministic_kernels(run.request.deterministic),
            TrainingProgress(console, keeper) as progress,
            StopSignals(console) as signals,
        ):
            runner.register_hook(progress)
            runner.register_hook(signals)
            runner.train()
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    except Exception as error:
        explained = _explain_lost_worker(error)
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
        end_record(folder, record, status, **results, **{name: count for name, count in counts.items() if count})
    if getattr(runner.train_loop, "stop_training", False):
        console.print(f"Stopped after epoch {runner.epoch}: the AP had not got better for a while.")
    return TrainedRun(folder.path, record["seed"], best_ap)


def _explain_lost_worker(error: BaseException | None) -> UserError | None:
    """What to tell a user whose data worker was killed; None for another error.

    PyTorch raises it from a signal handler, in whatever is running, which may make another error of it.
    """
    while error is not None and not re.search(r"DataLoader worker \(pid.*\) (exited|is killed)", str(error)):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    return UserError(
        "A process that loads images was ended from outside, which is what Linux does when the memory is full.",
        "Continue with --resume --set train_dataloader.num_workers=1, or with more memory (shared memory in a "
        "container).",
    )


@contextmanager
def _nothing_left_on_failure(folder: RunFolder) -> Iterator[None]:
    """Empty a new folder again when the data or the model cannot be used."""
    is_new = set(folder.path.iterdir()) <= {folder.lock}
    try:
        yield
    except Exception:
        if is_new:
            _close_loggers()
            for path in set(folder.path.iterdir()) - {folder.lock}:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        raise


def _close_loggers() -> None:
    """End the thread of TensorBoard, which would continue to write into a folder that is gone."""
    from mmengine.visualization import Visualizer

    with suppress(RuntimeError):  # there is none yet
        Visualizer.get_current_instance().close()
