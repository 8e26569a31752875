"""Guard a training against numbers that are not finite: skip such steps, print them, and stop after many in a row."""

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
"""Skipped steps in a row after which a training stops."""
_COUNTS = ("num_skipped", "skipped_in_a_row")


class GuardedOptimWrapper(OptimWrapper):
    """mmengine's `OptimWrapper` that leaves weights and moments alone when a loss or a gradient is NaN or infinite.

    One such step would turn every weight into NaN. Processes that train together skip the same steps.

    Attributes:
        num_skipped: steps skipped so far.
        skipped_in_a_row: steps skipped since the last one that was taken.
        loss_is_finite: whether the last loss was finite, a tensor on its device.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.num_skipped = self.skipped_in_a_row = 0
        self.loss_is_finite = torch.tensor(True)
        self._losses_are_finite: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        """mmengine's, and the counts of skipped steps."""
        return {**whole(super().state_dict()), **{name: getattr(self, name) for name in _COUNTS}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave; the counts are 0 where another wrapper gave it."""
        for name in _COUNTS:
            setattr(self, name, state_dict.get(name, 0))
        super().load_state_dict({key: value for key, value in state_dict.items() if key not in _COUNTS})
        share_moments(self.optimizer)

    def update_params(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backpropagate a loss, and take a step when it is time for one."""
        is_finite = self.loss_is_finite = loss.detach().isfinite().all()
        before = self._losses_are_finite
        self._losses_are_finite = is_finite if before is None else before & is_finite
        super().update_params(loss, *args, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip gradients and take a step, if all values are finite."""
        if self._is_finite():
            self.skipped_in_a_row = 0
            super().step(**kwargs)
        else:
            self.num_skipped += 1
            self.skipped_in_a_row += 1

    def _is_finite(self) -> bool:
        """Whether losses since the last step, and all gradients, are finite in every process."""
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
    """Optimizer wrapper whose forward pass runs under `torch.autocast` in bfloat16, on the CPU as on the GPU.

    bfloat16 has the exponent range of float32: there is no loss scale to keep, and therefore no GradScaler.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of a training step in mixed precision."""
        device_type = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device_type, dtype=torch.bfloat16):
            yield


@dataclass(frozen=True)
class _Batch:
    """What a process gave to a step: the batch as loaded, its seeds, and the names of losses that were not finite."""

    content: Any
    seeds: tuple[int, ...]
    names: list[str]

    @property
    def images(self) -> list[str]:
        """Paths of the images."""
        return [str(sample.metainfo.get("img_path", "?")) for sample in self.content["data_samples"]]


class GuardNumbers(Hook):
    """Prints which steps `GuardedOptimWrapper` skipped, and stops a training that skips one after the other.

    Running statistics of BatchNorm are set back to what they were before a loss that was not finite. The last step goes
    to `failed_step.pth` in the run's folder, with batch, weights and seeds, for `brs-detr replay`. Each of several
    processes writes its own, and of accumulated batches the first whose loss was not finite. (That costs a read from
    the device per accumulated batch.)

    Args:
        console: where to print.
        patience: skipped steps in a row after which the training stops.
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
        """Read the count of skipped steps."""
        self._num_skipped = getattr(runner.optim_wrapper, "num_skipped", 0)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Remember the statistics before a step."""
        if self._statistics is None:
            self._statistics = _changing_statistics(runner.model)
            self._kept = [statistic.clone() for statistic in self._statistics]
        elif self._statistics:
            torch._foreach_copy_(self._kept, self._statistics)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Print a step that was skipped; stop after `patience` in a row."""
        optimizer = runner.optim_wrapper
        if not isinstance(optimizer, GuardedOptimWrapper):
            return
        for statistic, kept in zip(self._statistics or [], self._kept, strict=True):  # without a transfer to the host
            statistic.copy_(torch.where(optimizer.loss_is_finite, statistic, kept))
        is_step, is_skipped = optimizer.should_update(), optimizer.num_skipped != self._num_skipped
        self._num_skipped = optimizer.num_skipped
        if (is_skipped or not is_step) and not optimizer.loss_is_finite:
            names = _drop_spoilt(outputs if outputs is not None else {})
            self._spoilt = self._spoilt or _Batch(data_batch, seeds_of_step(runner), names)
        if is_skipped:
            self._tell(runner, self._spoilt or _Batch(data_batch, seeds_of_step(runner), []))
        if is_step:
            self._spoilt = None

    def _tell(self, runner: Runner, batch: _Batch) -> None:
        rank = get_rank()
        path = Path(runner.work_dir) / f"failed_step{f'_rank{rank}' * (rank > 0)}.pth"
        found = of_all((batch.names, batch.images, path))
        found = [one for one in found if one[0]] or found  # those that saw a loss, not gradients
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
            "gradient clipping (optim_wrapper.clip_grad), usually helps.",
        )


def _changing_statistics(model: nn.Module) -> list[Tensor]:
    """Buffers that a forward pass changes: those of BatchNorm that is not frozen."""
    buffers = [buffer for module in model.modules() if module.training for buffer in module.buffers(recurse=False)]
    return [buffer for buffer in buffers if buffer.is_floating_point()]


def _drop_spoilt(outputs: dict[str, Any]) -> list[str]:
    """Remove outputs that are not finite, which other hooks would average; their names."""
    numbers = {name: value for name, value in outputs.items() if isinstance(value, (Tensor, float))}
    names = [name for name, value in numbers.items() if not torch.as_tensor(value).isfinite().all()]
    for name in names:
        del outputs[name]
    return names
