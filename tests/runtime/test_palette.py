from __future__ import annotations

import sys

import numpy as np
import pytest

from brs_detr.runtime.palette import class_colour, font, ink_on


def test_class_colours_differ_and_their_ink_is_readable() -> None:
    colours = [class_colour(label) for label in range(80)]
    assert len(set(colours)) == 80
    first = np.array(colours[:7])
    distances = np.linalg.norm(first[:, None] - first[None], axis=2)
    assert distances[~np.eye(7, dtype=bool)].min() > 55
    assert ink_on((255, 255, 0)) == (0, 0, 0) and ink_on((0, 0, 90)) == (255, 255, 255)


def test_letters_grow_with_the_size_with_and_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    assert font.__wrapped__(20, bold=True).getname() == ("DejaVu Sans", "Bold")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    small, large = (font.__wrapped__(size).getbbox("cat 0.75") for size in (12, 24))
    assert large[2] == pytest.approx(2 * small[2], rel=0.1)
    assert large[3] > small[3]
