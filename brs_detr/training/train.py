"""Train and fine-tune detectors: resolve a request, then run it on mmengine's Runner."""

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
    """Result of a training run. Without an evaluation, `best_ap` is -1 and `best_checkpoint` does not exist."""

    work_dir: Path
    seed: int
    best_ap: float

    @property
    def best_checkpoint(self) -> Path:
        """Checkpoint with the best AP: weights, class names and config."""
        return RunFolder(self.work_dir).best

    @property
    def last_checkpoint(self) -> Path:
        """Checkpoint with everything that `resume=True` needs."""
        return RunFolder(self.work_dir).last


def default_work_dir(config: str | Path, loss: str | None = None) -> Path:
    """Return the default folder of a training run: `work_dirs/<config>`, with the loss appended if one is given."""
    return Path("work_dirs") / "_".join([Path(config).stem, *([loss] if loss else [])])


def default_finetune_dir(data: str | Path, model: str | None, loss: str | None = None) -> Path:
    """Return the default folder of a fine-tuning run: `work_dirs/<data>_<model>`, and the loss if one is given."""
    folder = Path(data).resolve()
    name = folder.parent.name if folder.is_file() else folder.name
    return Path("work_dirs") / "_".join([name, Path(model or default_model()[0]).stem, *([loss] if loss else [])])


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
    loss: str | None = None,
    overrides: Iterable[str] = (),
    services: Iterable[str] = (),
    console: Console | None = None,
    trust_file: bool = False,
) -> TrainedRun:
    """Train a config, keeping the last and the best checkpoint.

    Under `torchrun`, every process trains its share of each batch.

    Args:
        config: a name from `brs-detr configs`, or the path of a config file.
        data: dataset in COCO, Pascal VOC or YOLO format, to whose classes the model is adapted. By default the dataset
            that the config names.
        work_dir: run folder, by default `work_dirs/<config>`.
        resume: continue from `last.pth` in `work_dir`.
        amp: run the forward pass in bfloat16.
        seed: seed of all random numbers. By default one is drawn, printed and stored.
        deterministic: make results reproducible bit for bit on a GPU too, which costs time. On a CPU they always are.
        epochs: number of epochs, at least 1. The learning rate schedule is scaled to it.
        loss: classification loss of all heads: exact, bucketed, rs, ap, bap, or focal for the score-based detector. By
            default that of the config.
        overrides: `key=value` assignments that change the config.
        services: services that receive losses and metrics, keys of `brs_detr.training.loggers.SERVICES`.
        console: where to show progress. By default the first process prints to standard output.
        trust_file: run the code that the checkpoint to resume from asks for.

    Returns:
        The checkpoints and the best AP.

    Raises:
        UserError: the config, the data or an override cannot be used, `work_dir` already holds a run, or there is
            nothing to resume.
    """
    work_dir = Path(work_dir or default_work_dir(config, loss))
    options = (resume, amp, seed, deterministic, tuple(overrides), tuple(services), trust_file)
    request = Request(str(config), data, work_dir, *options, epochs=epochs, loss=loss)
    return start(request, console or make_console())


def finetune(
    data: str | Path,
    model: str | None = None,
    work_dir: str | Path | None = None,
    *,
    weights: str | None = None,
    batch: int | Literal["auto"] | None = None,
    loss: str | None = None,
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
    """Train a detector on a dataset, by a recipe for the size of the dataset.

    Args:
        data: dataset in COCO, Pascal VOC or YOLO format.
        model: short name (a key of `brs_detr.config.config.MODELS`), name of a config, or config file. By default the
            model for this machine.
        work_dir: run folder, by default `work_dirs/<data>_<model>`.
        weights: weights to start from, see `brs_detr.checkpoints.weights_file.read_weights`, or `none` for random
            weights. By default those that the config names.
        batch: number of images that each process loads at a time, or `auto` for as many as fit on the GPU. By default
            as in the config.
        loss: classification loss of all heads: exact, bucketed, rs, ap, bap, or focal for the score-based detector. By
            default that of the model.
        settings: values of the recipe, by field name of `brs_detr.recipes.recipe.Recipe`.
        overrides: `key=value` assignments that change the recipe or the config.
        resume: continue from `last.pth` in `work_dir`, with the model, recipe and batch of that run.
        amp: run the forward pass in bfloat16.
        seed: seed of all random numbers. By default one is drawn, printed and stored.
        deterministic: make results reproducible bit for bit on a GPU too, which costs time.
        services: services that receive losses and metrics, keys of `brs_detr.training.loggers.SERVICES`.
        console: where to show progress. By default the first process prints to standard output.
        trust_file: run the code that the weights, or the run to resume, ask for.

    Returns:
        The checkpoints and the best AP.

    Raises:
        UserError: the model, weights, data or a setting cannot be used, `work_dir` already holds a run, or there is
            nothing to resume.
    """
    work_dir = Path(work_dir or default_finetune_dir(data, model, loss))
    options = (resume, amp, seed, deterministic, tuple(overrides), tuple(services), trust_file)
    request = Request(
        *(model, data, work_dir, *options),
        loss=loss,
        by_recipe=True,
        weights=weights,
        batch=batch,
        settings=settings or {},
    )
    return start(request, console or make_console())


def start(request: Request, console: Console) -> TrainedRun:
    """Resolve a request and run it, while the run folder is locked against other runs.

    Raises:
        UserError: see `train` and `finetune`.
    """
    from mmengine.config import ConfigDict

    folder, processes = RunFolder(request.work_dir), ConfigDict()
    join_processes(processes)
    with hold_run(folder, console):
        with _emptied_on_failure(folder):
            run = resolve(request, console, processes=processes)
            runner = _build_runner(run, console)
        return execute(run, runner, console)


def _build_runner(run: ResolvedRun, console: Console) -> QuietRunner:
    """Build the runner, and load the starting weights into its model."""
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
    """Load those starting weights that fit, and print a table of them."""
    runner.initialise_model()
    class_names = tuple(inner_dataset(runner.cfg, "train").metainfo["classes"])
    layers = find_class_layers(runner.cfg.model) if weights.start == "detector" else {}
    classes = ClassChange(layers, class_names, weights.class_names)
    account = load_weights(runner.bare_model, weights.state_dict, classes, source)
    console.print(load_table(account))
    if account.remade:
        console.print(f"Re-made: {', '.join(remade_layers(account))}", markup=False)
    kept = [class_names[new] for _, new in shared_classes(classes.old_names, classes.new_names)]
    if kept and not layers.keys().isdisjoint(account.remade):
        console.print(f"Classes that keep their weights: {', '.join(kept)}", markup=False)


def execute(run: ResolvedRun, runner: QuietRunner, console: Console) -> TrainedRun:
    """Train, and record how the run ended."""
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
        if _is_killed_worker(error):
            raise UserError(
                "A data loader process was killed, which Linux does when memory runs out.",
                "Continue with --resume --set train_dataloader.num_workers=1, or with more memory (shared memory in a "
                "container).",
            ) from None
        raise
    finally:
        best_ap = max(keeper.best, -1.0)
        results = {"best_ap": best_ap, "best_epoch": keeper.best_epoch, "epochs": runner.epoch}
        counts = {
            "skipped_steps": getattr(runner.optim_wrapper, "num_skipped", 0),
            "unreadable_images": len(unreadable.faults),
        }
        end_record(folder, record, status, **results, **{name: count for name, count in counts.items() if count})
    if getattr(runner.train_loop, "stop_training", False):
        console.print(f"Stopped early after epoch {runner.epoch}: the AP no longer improved.")
    return TrainedRun(folder.path, record["seed"], best_ap)


def _is_killed_worker(error: BaseException | None) -> bool:
    """Return whether an error, or one that led to it, is PyTorch's report of a killed data loader worker.

    PyTorch raises it in a signal handler, so that the code that was running may turn it into another error.
    """
    while error is not None and not re.search(r"DataLoader worker \(pid.*\) (exited|is killed)", str(error)):
        error = error.__cause__ or error.__context__
    return error is not None


@contextmanager
def _emptied_on_failure(folder: RunFolder) -> Iterator[None]:
    """Empty a new folder again if the block fails."""
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
    """End TensorBoard's thread, which would write into the deleted folder."""
    from mmengine.visualization import Visualizer

    with suppress(RuntimeError):  # no visualizer exists yet
        Visualizer.get_current_instance().close()
