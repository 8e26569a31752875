"""One word sets the loss of every head."""

from __future__ import annotations

import pytest

from brs_detr.cli.train import training_options
from brs_detr.config.config import list_configs, load_config
from brs_detr.config.losses import (
    LOSSES,
    RANKING_LOSSES,
    classifying_heads,
    config_with_loss,
    differing_losses,
    is_ranking,
    set_loss,
)
from brs_detr.errors import UserError

DETECTORS = ("co-deformable-detr_r18_1xb4-12e_coco", "faster-rcnn_r50_fpn_4xb4-12e_coco", "atss_r50_fpn_4xb4-12e_coco")
CASCADE = "brs-cascade-rcnn_r50_fpn_4xb4-12e_coco"


@pytest.mark.parametrize("loss", RANKING_LOSSES)
@pytest.mark.parametrize("prefix", ["", "brs-"])
@pytest.mark.parametrize("name", DETECTORS)
def test_every_head_of_a_detector_has_the_loss(name: str, prefix: str, loss: str) -> None:
    chosen = config_with_loss(prefix + name, loss)
    assert chosen == f"brs-{name}"
    config, before = load_config(chosen), load_config(chosen)
    set_loss(config, loss)
    heads = [head["loss_cls"] for _, head in classifying_heads(config.model)]
    assert {head["type"] for head in heads} == {RANKING_LOSSES[loss]["type"]}
    weights = [head["loss_cls"].get("loss_weight") for _, head in classifying_heads(before.model)]
    assert [head.get("loss_weight") for head in heads] == weights
    assert differing_losses(config.model) is None


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("prefix", ["", "brs-"])
def test_focal_is_the_score_based_detector(name: str, prefix: str) -> None:
    chosen = config_with_loss(prefix + name, "focal")
    config = load_config(chosen)
    set_loss(config, "focal")
    assert chosen == name and not any(is_ranking(head["loss_cls"]) for _, head in classifying_heads(config.model))


def test_every_stage_of_a_cascade() -> None:
    config = load_config(CASCADE)
    set_loss(config, "exact")
    names = [name for name, _ in classifying_heads(config.model)]
    assert names == ["rpn_head", "roi_head.bbox_head.0", "roi_head.bbox_head.1", "roi_head.bbox_head.2"]


def test_delta_stays_among_rank_sort_losses() -> None:
    config = load_config(CASCADE)
    for _, head in classifying_heads(config.model):
        head["loss_cls"]["delta"] = 0.25
    set_loss(config, "exact")
    assert all(head["loss_cls"]["delta"] == 0.25 for _, head in classifying_heads(config.model))
    set_loss(config, "bap")
    assert not any("delta" in head["loss_cls"] for _, head in classifying_heads(config.model))


def test_what_cannot_be_set_is_said() -> None:
    with pytest.raises(UserError, match="no config brs-deformable-detr"):
        config_with_loss("deformable-detr_r18_1xb4-12e_coco", "exact")
    with pytest.raises(UserError, match="score-based"):
        config_with_loss("my_config.py", "focal")
    with pytest.raises(UserError, match="head query_head has the score-based loss FocalLoss"):
        set_loss(load_config(DETECTORS[0]), "exact")


def test_heads_that_differ_are_named() -> None:
    assert all(differing_losses(load_config(entry.path).model) is None for entry in list_configs())
    config = load_config(f"brs-{DETECTORS[0]}")
    config.model.atss_head.loss_cls.delta = 0.1
    described = differing_losses(config.model)
    assert described is not None
    assert (
        "atss_head: BucketedRankSortLoss, delta 0.1" in described
        and "rpn_head: BucketedRankSortLoss, delta 0.5" in described
    )


def test_the_command_line_knows_every_loss() -> None:
    options = training_options(lambda: None).__click_params__
    (option,) = [option for option in options if "--loss" in option.opts]
    assert tuple(option.type.choices) == LOSSES
