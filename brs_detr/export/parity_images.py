"""Pictures to compare an artefact and its model on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from brs_detr.data.synthetic.scene import draw_scene
from brs_detr.runtime.artefact_info import Preprocessing
from brs_detr.runtime.images import read_pixels

SIZES = ((480, 640), (800, 1333), (333, 517), (601, 299))
"""(h, w) of synthetic pictures: usual ones, and odd ones of both orientations."""


SMALL_SIZES = ((8, 8), (8, 64), (64, 8), (17, 33), (33, 40))
"""(h, w) of pictures on which a model has fewer candidates than it keeps of others, and maps of a single cell."""

THIN_SIZES = ((8, 640), (640, 8))
"""(h, w) of pictures that stay narrow when they are resized, their shape kept."""

SMALL_SIDE = 40
"""Longest shorter side of a small picture, in pixels."""


class Picture(NamedTuple):
    """A picture, RGB uint8 [H, W, 3], and what it is called in a report."""

    name: str
    pixels: NDArray[np.uint8]

    @property
    def is_small(self) -> bool:
        """Whether it has a side of few pixels."""
        return min(self.pixels.shape[:2]) <= SMALL_SIDE


def synthetic_pictures(sizes: Sequence[tuple[int, int]] = SIZES, seed: int = 0) -> list[Picture]:
    """Scenes of coloured shapes, one of each size (h, w)."""
    rng = np.random.default_rng(seed)
    return [Picture(f"{h} x {w}", draw_scene(rng, (h, w))[0]) for h, w in sizes]


def small_pictures(settings: Preprocessing) -> list[Picture]:
    """Those that the model sees small; none where it sees all pictures in one size.

    Args:
        settings: how large pictures become.
    """
    if settings.fixed_size is not None:
        return []
    return synthetic_pictures(SMALL_SIZES if settings.short_side is None else THIN_SIZES)


def read_pictures(paths: Sequence[Path]) -> list[Picture]:
    """Pictures from files."""
    return [Picture(path.name, read_pixels(path)) for path in paths]
