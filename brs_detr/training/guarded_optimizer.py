"""An optimizer that takes no step where a loss or a gradient is not finite."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.optim import OptimWrapper
from torch import Tensor

from brs_detr.training.sharding import share_moments, share_of, whole

_COUNTS = ("num_skipped", "skipped_in_a_row")


class GuardedOptimWrapper(OptimWrapper):
    """mmengine's `OptimWrapper` that leaves weights and moments alone when a loss or a gradient is NaN or infinite.

    One such step would turn every weight into NaN. Processes that train together leave out the same steps.

    Attributes:
        num_skipped: steps left out so far.
        skipped_in_a_row: since the last step that was taken.
        loss_is_finite: whether the last loss was, a tensor on its device.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.num_skipped = self.skipped_in_a_row = 0
        self.loss_is_finite = torch.tensor(True)
        self._losses_are_finite: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        """mmengine's, and how many steps were left out."""
        return {**whole(super().state_dict()), **{name: getattr(self, name) for name in _COUNTS}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what `state_dict` gave; the counts are 0 where another wrapper gave it."""
        for name in _COUNTS:
            setattr(self, name, state_dict.get(name, 0))
        super().load_state_dict({key: value for key, value in state_dict.items() if key not in _COUNTS})
        share_moments(self.optimizer)

    def update_params(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Go backward from a loss, and take a step when it is time for one."""
        is_finite = self.loss_is_finite = loss.detach().isfinite().all()
        before = self._losses_are_finite
        self._losses_are_finite = is_finite if before is None else before & is_finite
        super().update_params(loss, *args, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip gradients and take a step, if all of it is finite."""
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
