"""Training images: each is augmented with its own seed, and unreadable ones are replaced, reported and counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from rich.console import Console
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from brs_detr.errors import UserError
from brs_detr.runtime.images import UnreadableImage
from brs_detr.training.seeds import seed_all

UNREADABLE = "unreadable"
"""Key in the metadata of a sample: messages about the unreadable images that it replaces."""

_MAX_TRIES = 10
_MIN_SIDE = 64  # backbones halve it five times, and trained BatchNorm needs more than one pixel


class TrainingSamples(Dataset):
    """A dataset whose augmentation depends only on the seed, the epoch and the image, and not on the process.

    An unreadable image is replaced by a random other one, whose metadata says so. All other attributes are those of the
    wrapped dataset.

    Args:
        dataset: config of the wrapped dataset.
        seed: seed of the run.
    """

    def __init__(self, dataset: Mapping[str, Any], seed: int) -> None:
        self.dataset = DATASETS.build(dataset)
        self.seed = seed
        self.epoch = 0

    def full_init(self) -> None:
        """Read the annotations."""
        self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Return the sample of an image, or of a random other one if the image is unreadable.

        Raises:
            UserError: ten images in a row are unreadable.
        """
        faults: list[str] = []
        for candidate in self._candidates(index):
            seed_all(self.seed, self.epoch, candidate)
            try:
                sample = self.dataset[candidate]
            except UnreadableImage as error:
                faults.append(error.message)
                continue
            if faults:
                sample["data_samples"].set_metainfo({UNREADABLE: faults})
            sample["inputs"] = _pad_tiny(sample["inputs"])
            return sample
        raise UserError(
            f"{len(faults)} images in a row cannot be read. {faults[-1]}.",
            "Check that the image folder is the right one, and accessible.",
        )

    def _candidates(self, index: int) -> Iterator[int]:
        yield index
        yield from np.random.default_rng([self.seed, self.epoch, index]).integers(len(self), size=_MAX_TRIES - 1)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":  # looked up before `__init__` has run, for instance by copy
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _pad_tiny(image: Tensor) -> Tensor:
    """Pad a tiny image [3, h, w] with black on the right and at the bottom."""
    height, width = image.shape[-2:]
    missing = max(_MIN_SIDE - width, 0), max(_MIN_SIDE - height, 0)
    return functional.pad(image, (0, missing[0], 0, missing[1])) if any(missing) else image


class CountUnreadable(Hook):
    """Report each image that `TrainingSamples` replaces, and stop if there are more than the loop's `max_unreadable`.

    Args:
        console: where to print.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.faults: set[str] = set()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Mapping[str, Any] | None = None, outputs: Any = None
    ) -> None:
        """Report the images that were replaced in this batch."""
        samples = (data_batch or {}).get("data_samples", [])
        for fault in (fault for sample in samples for fault in sample.metainfo.get(UNREADABLE, [])):
            if fault not in self.faults:
                self.faults.add(fault)
                line = f"{fault}. It is replaced by another image."
                runner.logger.warning(line)
                self.console.print(line, markup=False)
        num_images = len(runner.train_dataloader.dataset)
        if len(self.faults) > max(1, runner.train_loop.max_unreadable * num_images):
            raise UserError(
                f"{len(self.faults)} of {num_images} images cannot be read. {'. '.join(sorted(self.faults)[:3])}.",
                "`brs-detr check` finds all of them. Repair the data, then continue with --resume.",
            )
