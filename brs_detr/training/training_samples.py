"""What a training reads: each image with random numbers of its own, and another one in place of what is unreadable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from mmengine.registry import DATASETS
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from brs_detr.errors import UserError
from brs_detr.runtime.images import UnreadableImage
from brs_detr.training.seeds import seed_all

UNREADABLE = "unreadable"
"""Key of a sample's metadata: messages of the images that it takes the place of."""

_MOST_TRIES = 10
_SHORTEST_SIDE = 64  # backbones halve it five times, and BatchNorm that is trained needs more than one pixel


class TrainingSamples(Dataset):
    """A data set whose augmentation depends on the seed, the epoch and the image alone, whichever process does it.

    An image that cannot be read is replaced by another one, drawn at random, and named in the metadata of that.
    Everything else is asked of the data set within.

    Args:
        dataset: config of it.
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
        """The sample of an image.

        Raises:
            UserError: neither it nor any of those drawn in its place can be read.
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
            "See whether the folder of the images is the right one, and whether it can be reached.",
        )

    def _places(self, index: int) -> Iterator[int]:
        yield index
        yield from np.random.default_rng([self.seed, self.epoch, index]).integers(len(self), size=_MOST_TRIES - 1)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":  # asked for before there is one, as in copying
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _on_canvas(image: Tensor) -> Tensor:
    """A tiny image [3, h, w] with black pixels to its right and below; they are padding to the detector."""
    height, width = image.shape[-2:]
    missing = max(_SHORTEST_SIDE - width, 0), max(_SHORTEST_SIDE - height, 0)
    return functional.pad(image, (0, missing[0], 0, missing[1])) if any(missing) else image
