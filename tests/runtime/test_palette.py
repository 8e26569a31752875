from __future__ import annotations

import numpy as np

from brs_detr.runtime.palette import class_colour, ink_on


def test_class_colours_differ_and_their_ink_is_readable() -> None:
    colours = [class_colour(label) for label in range(80)]
    assert len(set(colours)) == 80
    first = np.array(colours[:7])
    distances = np.linalg.norm(first[:, None] - first[None], axis=2)
    assert distances[~np.eye(7, dtype=bool)].min() > 55
    assert ink_on((255, 255, 0)) == (0, 0, 0) and ink_on((0, 0, 90)) == (255, 255, 255)
