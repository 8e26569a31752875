"""The images of a training: each with random numbers of its own; unreadable ones are replaced, named and counted."""

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
"""Key in a sample's metadata: messages about the images that it replaces."""

_MOST_TRIES = 10
_SHORTEST_SIDE = 64  # backbones halve it five times, and BatchNorm that is trained needs more than one pixel


class TrainingSamples(Dataset):
    """A data set whose augmentation depends on the seed, the epoch and the image alone, whichever process does it.

    An unreadable image is replaced by another one, drawn at random, whose metadata name it. Every other attribute is
    that of the data set within.

    Args:
        dataset: its config.
        seed: of the run.
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
        """The sample of an image, or of one drawn in its place.

        Raises:
            UserError: ten images in a row cannot be read.
        """
        faults: list[str] = []
        for place in self._places(index):
            seed_all(self.seed, self.epoch, place)
            try:
                sample = self.dataset[place]
            except UnreadableImage as error:
                faults.append(error.message)
                continue
            if faults:
                sample["data_samples"].set_metainfo({UNREADABLE: faults})
            sample["inputs"] = _on_canvas(sample["inputs"])
            return sample
        raise UserError(
            f"{len(faults)} images, one drawn after the other, cannot be read. {faults[-1]}.",
            "Check that the folder of the images is the right one, and can be reached.",
        )

    def _places(self, index: int) -> Iterator[int]:
        yield index
        yield from np.random.default_rng([self.seed, self.epoch, index]).integers(len(self), size=_MOST_TRIES - 1)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":  # asked for before there is one, as in copying
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _on_canvas(image: Tensor) -> Tensor:
    """Pad a tiny image [3, h, w] with black to its right and below."""
    height, width = image.shape[-2:]
    missing = max(_SHORTEST_SIDE - width, 0), max(_SHORTEST_SIDE - height, 0)
    return functional.pad(image, (0, missing[0], 0, missing[1])) if any(missing) else image


class CountUnreadable(Hook):
    """Print each image that `TrainingSamples` has replaced; stop when they are more than the loop's `max_unreadable`.

    Args:
        console: where to print.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.faults: set[str] = set()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Mapping[str, Any] | None = None, outputs: Any = None
    ) -> None:
        """Look for replaced images in the batch."""
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
                "`brs-detr check` finds all of them. Repair the data, then continue with --resume.",
            )
