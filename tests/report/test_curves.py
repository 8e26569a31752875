from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brs_detr.report.curves import plot_curves, smooth
from brs_detr.report.history import History

TRAIN = [{"lr": 1e-4, "loss": 30 / n, "loss_rank": 1.0, "epoch": 1, "iter": n, "step": n} for n in range(1, 40)]
VAL = [{"coco/AP": 0.1 * n, "coco/AP50": 0.2 * n, "time": 0.1, "step": n} for n in range(1, 5)]


def colours_in(path: Path) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).tolist()}


def test_both_curves_are_drawn(tmp_path: Path) -> None:
    plot_curves(History(TRAIN, VAL), tmp_path / "new" / "curves.png", "a run")
    blue, vermilion, orange = (0, 130, 210), (213, 94, 0), (230, 159, 0)
    assert {blue, vermilion, orange} <= colours_in(tmp_path / "new" / "curves.png")
    plot_curves(History(TRAIN, []), tmp_path / "loss.png")
    assert blue in colours_in(tmp_path / "loss.png") and orange not in colours_in(tmp_path / "loss.png")


@pytest.mark.parametrize(
    "history",
    [
        History([], []),
        History([{"loss": math.nan, "step": 1}], [{"step": 0}]),
        History(TRAIN[:1], [{"coco/bbox_mAP": -1.0, "coco/bbox_mAP_50": 0.5, "step": 7}]),
    ],
)
def test_little_or_nothing_recorded_is_drawn_too(tmp_path: Path, history: History) -> None:
    plot_curves(history, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size == (1440, 547)


def test_smoothing_follows_the_mean_without_bias_and_passes_over_nan() -> None:
    assert smooth([3.0] * 5).tolist() == pytest.approx([3.0] * 5)
    assert smooth([math.nan, 4.0, math.inf, 4.0])[1:].tolist() == pytest.approx([4.0] * 3)
    assert math.isnan(smooth([math.nan])[0])
    assert smooth([1.0, 0.0], weight=0.5)[1] == pytest.approx(1 / 3)
