from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brs_detr.report.training_figures import plot_curves, smooth

TRAIN = [
    {"lr": 1e-4, "loss": 30 / n, "loss_rank": 20 / n, "enc_loss_rank": 10 / n, "epoch": 1, "iteration": n}
    for n in range(1, 40)
]
VAL = [{"AP": 0.1 * n, "AP50": 0.2 * n, "iteration": 10 * n, "epoch": n} for n in range(1, 5)]


def colours_in(path: Path) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).tolist()}


def test_both_curves_are_drawn(tmp_path: Path) -> None:
    plot_curves([*TRAIN, *VAL], tmp_path / "new" / "curves.png", "a run")
    orange, blue, vermilion = (230, 159, 0), (0, 130, 210), (213, 94, 0)
    assert {orange, blue, vermilion} <= colours_in(tmp_path / "new" / "curves.png")
    plot_curves(TRAIN, tmp_path / "loss.png")
    assert blue in colours_in(tmp_path / "loss.png") and vermilion not in colours_in(tmp_path / "loss.png")


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"loss": math.nan, "loss_rank": math.nan, "iteration": 1}, {"AP": math.nan, "iteration": 1, "epoch": 1}],
        [TRAIN[0], {"AP": -1.0, "AP50": 0.5, "iteration": 7, "epoch": 1}],
    ],
)
def test_little_or_nothing_recorded_is_drawn_too(tmp_path: Path, rows: list[dict]) -> None:
    plot_curves(rows, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size == (1440, 547)


def test_smoothing_follows_the_mean_without_bias_and_passes_over_nan() -> None:
    assert smooth([3.0] * 5).tolist() == pytest.approx([3.0] * 5)
    assert smooth([math.nan, 4.0, math.inf, 4.0])[1:].tolist() == pytest.approx([4.0] * 3)
    assert math.isnan(smooth([math.nan])[0])
    assert smooth([1.0, 0.0], weight=0.5)[1] == pytest.approx(1 / 3)
