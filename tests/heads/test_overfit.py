"""Each detector learns 20 pictures by heart, with each kind of loss: slow, AP50 is printed."""

from __future__ import annotations

import pytest
from overfit import make_pictures, measure, overfit_config, train
from torch import nn

from brs_detr.heads.ranking import LoopRankSortLoss, RankSortLoss

EPOCHS = {"atss": 60, "paa": 60, "retinanet": 60, "faster-rcnn": 40, "cascade-rcnn": 40, "mask-rcnn": 40}
SLOWER = 3  # times as many, for the sampled cross entropy of a two-stage detector
CONFIGS = {"baseline": "", "loop": "rs-", "bucketed": "brs-", "exact": "rs-"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("data") / "pictures")


def as_published(model: nn.Module) -> None:
    """Rank & Sort Loss by its loop."""
    for module in model.modules():
        if type(module) is RankSortLoss:
            module.__class__ = LoopRankSortLoss


@pytest.mark.slow
@pytest.mark.parametrize("detector", EPOCHS)
@pytest.mark.parametrize("loss", CONFIGS)
def test_learns_by_heart(loss, detector, pictures, capsys):
    config = overfit_config(f"{CONFIGS[loss]}{detector}_r50_fpn_4xb4-12e_coco", pictures)
    epochs = EPOCHS[detector] * (SLOWER if loss == "baseline" and "rcnn" in detector else 1)
    model = train(config, epochs, 2e-3, as_published if loss == "loop" else None)
    metrics = measure(model, config)
    shown = "  ".join(
        f"{name} {metrics[f'coco/{name}']:.3f}" for name in ("AP50", "mask_AP50") if f"coco/{name}" in metrics
    )
    with capsys.disabled():
        print(f"\n{detector} {loss}: {shown}")
    assert metrics["coco/AP50"] >= 0.9
    assert metrics.get("coco/mask_AP50", 1) >= 0.9
