"""Pictures to compare an artefact and its model on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from brs_detr.data.synthetic.scene import draw_scene
from brs_detr.runtime.images import read_pixels

SIZES = ((480, 640), (800, 1333), (333, 517), (601, 299))
"""(h, w) of synthetic pictures: usual ones, and odd ones of both orientations."""


class Picture(NamedTuple):
    """A picture, RGB uint8 [H, W, 3], and what it is called in a report."""

    name: str
    pixels: NDArray[np.uint8]


def synthetic_pictures(sizes: Sequence[tuple[int, int]] = SIZES, seed: int = 0) -> list[Picture]:
    """Scenes of coloured shapes, one of each size (h, w)."""
    rng = np.random.default_rng(seed)
    return [Picture(f"{h} x {w}", draw_scene(rng, (h, w))[0]) for h, w in sizes]


def read_pictures(paths: Sequence[Path]) -> list[Picture]:
    """Pictures from files."""
    return [Picture(path.name, read_pixels(path)) for path in paths]
