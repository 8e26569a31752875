"""What a training does about numbers that are not finite: tell, go on, and stop with a file that repeats the step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from rich.console import Console
from torch import Tensor, nn

from brs_detr.errors import UserError, shortened
from brs_detr.run.distributed import of_all
from brs_detr.run.run_folder import RunFolder
from brs_detr.training.guarded_optimizer import GuardedOptimWrapper
from brs_detr.training.replay import save_step
from brs_detr.training.seeds import seeds_of_step

PATIENCE = 10
"""Steps in a row that are left out before a training stops."""


@dataclass(frozen=True)
class _Batch:
    """What a process gave to a step: as loaded, with the seeds it met, and the losses that were not finite."""

    content: Any
    seeds: tuple[int, ...]
    names: list[str]

    @property
    def images(self) -> list[str]:
        """Paths."""
        return [str(sample.metainfo.get("img_path", "?")) for sample in self.content["data_samples"]]


class GuardNumbers(Hook):
    """Says which steps `GuardedOptimWrapper` left out, and ends a training where it leaves out one after the other.

    Running statistics of batch normalisation are taken back to what they were before a loss that was not finite. The
    last step is written to `failed_step.pth` beside the run's record: batch, weights and seeds, for
    `brs-detr replay`; of several processes each writes its own, and of batches that are accumulated the first one whose
    loss was not finite is kept. (That costs a read from the device for each of them, where there are several.)

    Args:
        console: where to tell.
        patience: steps in a row.
    """

    priority = "HIGHEST"  # a moving mean would take spoilt statistics in, and means of losses would be NaN for long

    def __init__(self, console: Console, patience: int = PATIENCE) -> None:
        self.console = console
        self.patience = patience
        self._statistics: list[Tensor] | None = None
        self._kept: list[Tensor] = []
        self._num_skipped = 0
        self._spoilt: _Batch | None = None

    def before_train(self, runner: Runner) -> None:
        """Begin to count."""
        self._num_skipped = getattr(runner.optim_wrapper, "num_skipped", 0)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Remember what a step begins with."""
        if self._statistics is None:
            self._statistics = _changing_statistics(runner.model)
            self._kept = [statistic.clone() for statistic in self._statistics]
        elif self._statistics:
            torch._foreach_copy_(self._kept, self._statistics)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Tell of a step that was left out; give up after several in a row.

        Raises:
            UserError: the last `patience` steps were left out.
        """
        optimizer = runner.optim_wrapper
        if not isinstance(optimizer, GuardedOptimWrapper):
            return
        for statistic, kept in zip(self._statistics or [], self._kept, strict=True):  # without a word to the host
            statistic.copy_(torch.where(optimizer.loss_is_finite, statistic, kept))
        is_step, is_skipped = optimizer.should_update(), optimizer.num_skipped != self._num_skipped
        self._num_skipped = optimizer.num_skipped
        if (is_skipped or not is_step) and not optimizer.loss_is_finite:
            names = _take_out_spoilt(outputs if outputs is not None else {})
            self._spoilt = self._spoilt or _Batch(data_batch, seeds_of_step(runner), names)
        if is_skipped:
            self._tell(runner, self._spoilt or _Batch(data_batch, seeds_of_step(runner), []))
        if is_step:
            self._spoilt = None

    def _tell(self, runner: Runner, batch: _Batch) -> None:
        path = RunFolder(Path(runner.work_dir)).path / _file_name(get_rank())
        found = of_all((batch.names, batch.images, path))
        found = [one for one in found if one[0]] or found  # who has seen nothing but the gradients of all
        wrong = shortened(list(dict.fromkeys(name for names, _, _ in found for name in names)), 4) or "a gradient"
        images = ", ".join(image for _, images, _ in found for image in images)
        line = f"Step {runner.iter + 1} is left out: {wrong} is not finite (images: {images})."
        runner.logger.warning(line)
        if is_main_process():
            self.console.print(line, markup=False)
        if runner.optim_wrapper.skipped_in_a_row < self.patience:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        save_step(path, runner.cfg, model, batch.content, batch.seeds, runner.iter + 1)
        raise UserError(
            f"The last {self.patience} steps were left out, at the end because {wrong} was not finite.",
            f"`brs-detr replay {found[0][2]}` repeats the last one and names the layer. A lower learning rate, or "
            "gradient clipping (optim_wrapper.clip_grad), is the usual cure.",
        )


def _file_name(rank: int) -> str:
    return "failed_step.pth" if rank == 0 else f"failed_step_rank{rank}.pth"


def _changing_statistics(model: nn.Module) -> list[Tensor]:
    """Buffers that a forward pass changes: those of BatchNorm that is not frozen."""
    buffers = [buffer for module in model.modules() if module.training for buffer in module.buffers(recurse=False)]
    return [buffer for buffer in buffers if buffer.is_floating_point()]


def _take_out_spoilt(outputs: dict[str, Any]) -> list[str]:
    """Remove what is not finite, of which other hooks make means; its names."""
    names = [name for name, value in outputs.items() if not _is_finite(value)]
    for name in names:
        del outputs[name]
    return names


def _is_finite(value: Any) -> bool:
    return not isinstance(value, (Tensor, float)) or bool(torch.as_tensor(value).isfinite().all())
