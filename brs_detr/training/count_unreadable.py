"""What a training does about images that it cannot read: name them, go on with others, and stop when they are many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console

from brs_detr.errors import UserError
from brs_detr.training.training_samples import UNREADABLE


class CountUnreadable(Hook):
    """Names each image that another one took the place of, see `brs_detr.training.training_samples`.

    The loop knows how many are too many.

    Args:
        console: where to tell.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.faults: set[str] = set()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Mapping[str, Any] | None = None, outputs: Any = None
    ) -> None:
        """Look at what was read.

        Raises:
            UserError: too many were not.
        """
        samples = (data_batch or {}).get("data_samples", [])
        for fault in (fault for sample in samples for fault in sample.metainfo.get(UNREADABLE, [])):
            if fault not in self.faults:
                self.faults.add(fault)
                line = f"{fault}. Another image takes its place."
                runner.logger.warning(line)
                self.console.print(line, markup=False)
        num_images = len(runner.train_dataloader.dataset)
        if len(self.faults) > max(1, runner.train_loop.max_unreadable * num_images):
            raise UserError(
                f"{len(self.faults)} of {num_images} images cannot be read. {'. '.join(sorted(self.faults)[:3])}.",
                "`brs-detr check` finds all of them. Mend the data, then go on with --resume.",
            )
