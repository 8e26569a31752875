"""Skip training steps whose loss or gradients are not finite, report them, and stop after many in a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from rich.console import Console
from torch import Tensor, nn

from brs_detr.errors import UserError, shortened
from brs_detr.run.distributed import of_all
from brs_detr.training.replay import save_step
from brs_detr.training.seeds import seeds_of_step
from brs_detr.training.sharding import share_moments, share_of, whole

PATIENCE = 10
"""Number of skipped steps in a row after which training stops."""
_COUNTS = ("num_skipped", "skipped_in_a_row")


class GuardedOptimWrapper(OptimWrapper):
    """An `OptimWrapper` that skips the optimizer step if a loss or a gradient is NaN or infinite.

    Otherwise a single such step would turn every weight into NaN. All processes skip the same steps.

    Attributes:
        num_skipped: number of steps skipped so far.
        skipped_in_a_row: number of steps skipped since the last one that was taken.
        loss_is_finite: whether the last loss was finite, as a tensor on its device.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.num_skipped = self.skipped_in_a_row = 0
        self.loss_is_finite = torch.tensor(True)
        self._losses_are_finite: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return mmengine's state and the counts of skipped steps."""
        return {**whole(super().state_dict()), **{name: getattr(self, name) for name in _COUNTS}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state. The counts are 0 if it comes from another wrapper."""
        for name in _COUNTS:
            setattr(self, name, state_dict.get(name, 0))
        super().load_state_dict({key: value for key, value in state_dict.items() if key not in _COUNTS})
        share_moments(self.optimizer)

    def update_params(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backpropagate a loss, and take a step if enough batches are accumulated."""
        is_finite = self.loss_is_finite = loss.detach().isfinite().all()
        before = self._losses_are_finite
        self._losses_are_finite = is_finite if before is None else before & is_finite
        super().update_params(loss, *args, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip the gradients and take a step if all values are finite."""
        if self._is_finite():
            self.skipped_in_a_row = 0
            super().step(**kwargs)
        else:
            self.num_skipped += 1
            self.skipped_in_a_row += 1

    def _is_finite(self) -> bool:
        """Return whether all gradients, and the losses since the last step, are finite in every process."""
        parameters = (parameter for group in self.optimizer.param_groups for parameter in group["params"])
        gradients = [share_of(parameter.grad) for parameter in parameters if parameter.grad is not None]
        norms = torch._foreach_norm(gradients, float("inf")) if gradients else []
        checks = [norm.isfinite() for norm in norms]
        if self._losses_are_finite is not None:
            checks.append(self._losses_are_finite)
        self._losses_are_finite = None
        if not checks:
            return True
        is_finite = torch.stack([check.to(checks[0].device) for check in checks]).all()
        if get_world_size() > 1:
            votes = is_finite.float()
            all_reduce(votes, "min")
            is_finite = votes > 0
        return bool(is_finite)


class AutocastOptimWrapper(GuardedOptimWrapper):
    """An optimizer wrapper whose forward pass runs under `torch.autocast` in bfloat16, on CPUs and GPUs.

    bfloat16 has the exponent range of float32, so that no loss scaling (GradScaler) is needed.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of a training step in mixed precision."""
        device_type = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device_type, dtype=torch.bfloat16):
            yield


@dataclass(frozen=True)
class _Batch:
    """A batch as loaded in one process, its seeds, and the names of the losses that were not finite."""

    content: Any
    seeds: tuple[int, ...]
    bad_losses: list[str]

    @property
    def images(self) -> list[str]:
        """Paths of the images."""
        return [str(sample.metainfo.get("img_path", "?")) for sample in self.content["data_samples"]]


class GuardNumbers(Hook):
    """Report the steps that `GuardedOptimWrapper` skips, and stop a training that skips many in a row.

    After a loss that is not finite, the running statistics of BatchNorm are restored. When training stops, the last
    step is saved as `failed_step.pth` in the run folder, with batch, weights and seeds, for `brs-detr replay`. Each of
    several processes saves its own. Of accumulated batches, the first one with a loss that is not finite is saved; to
    find it, the loss of every batch is transferred from the device.

    Args:
        console: where to print.
        patience: number of skipped steps in a row after which training stops.
    """

    priority = "HIGHEST"  # before hooks that average weights, statistics and losses

    def __init__(self, console: Console, patience: int = PATIENCE) -> None:
        self.console = console
        self.patience = patience
        self._statistics: list[Tensor] | None = None
        self._saved: list[Tensor] = []
        self._num_skipped = 0
        self._bad_batch: _Batch | None = None

    def before_train(self, runner: Runner) -> None:
        """Read the count of skipped steps."""
        self._num_skipped = getattr(runner.optim_wrapper, "num_skipped", 0)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Save the BatchNorm statistics before a step."""
        if self._statistics is None:
            self._statistics = _running_statistics(runner.model)
            self._saved = [statistic.clone() for statistic in self._statistics]
        elif self._statistics:
            torch._foreach_copy_(self._saved, self._statistics)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Report a step that was skipped, and stop after `patience` in a row."""
        optimizer = runner.optim_wrapper
        if not isinstance(optimizer, GuardedOptimWrapper):
            return
        for statistic, saved in zip(self._statistics or [], self._saved, strict=True):  # without a transfer to the host
            statistic.copy_(torch.where(optimizer.loss_is_finite, statistic, saved))
        is_step, is_skipped = optimizer.should_update(), optimizer.num_skipped != self._num_skipped
        self._num_skipped = optimizer.num_skipped
        if (is_skipped or not is_step) and not optimizer.loss_is_finite:
            bad_losses = _remove_not_finite(outputs if outputs is not None else {})
            self._bad_batch = self._bad_batch or _Batch(data_batch, seeds_of_step(runner), bad_losses)
        if is_skipped:
            self._report(runner, self._bad_batch or _Batch(data_batch, seeds_of_step(runner), []))
        if is_step:
            self._bad_batch = None

    def _report(self, runner: Runner, batch: _Batch) -> None:
        rank = get_rank()
        path = Path(runner.work_dir) / f"failed_step{f'_rank{rank}' * (rank > 0)}.pth"
        reports = of_all((batch.bad_losses, batch.images, path))
        reports = [report for report in reports if report[0]] or reports  # prefer processes with a bad loss
        wrong = shortened(list(dict.fromkeys(name for names, _, _ in reports for name in names)), 4) or "a gradient"
        images = ", ".join(image for _, images, _ in reports for image in images)
        line = f"Step {runner.iter + 1} is skipped: {wrong} is not finite (images: {images})."
        runner.logger.warning(line)
        if is_main_process():
            self.console.print(line, markup=False)
        if runner.optim_wrapper.skipped_in_a_row < self.patience:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        save_step(path, runner.cfg, model, batch.content, batch.seeds, runner.iter + 1)
        raise UserError(
            f"The last {self.patience} steps were skipped, the last one because {wrong} was not finite.",
            f"`brs-detr replay {reports[0][2]}` repeats the last one and names the layer. A lower learning rate, or "
            "gradient clipping (optim_wrapper.clip_grad), usually helps.",
        )


def _running_statistics(model: nn.Module) -> list[Tensor]:
    """Return the buffers that a forward pass changes: those of BatchNorm that is not frozen."""
    buffers = [buffer for module in model.modules() if module.training for buffer in module.buffers(recurse=False)]
    return [buffer for buffer in buffers if buffer.is_floating_point()]


def _remove_not_finite(outputs: dict[str, Any]) -> list[str]:
    """Remove outputs that are not finite, because other hooks average them, and return their names."""
    numbers = {name: value for name, value in outputs.items() if isinstance(value, (Tensor, float))}
    names = [name for name, value in numbers.items() if not torch.as_tensor(value).isfinite().all()]
    for name in names:
        del outputs[name]
    return names
