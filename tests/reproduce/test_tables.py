from __future__ import annotations

import pytest
from loss_types import classification_losses

from brs_detr.checkpoints.checkpoint_index import read_index
from brs_detr.config.config import list_configs, load_config
from brs_detr.errors import UserError
from brs_detr.reproduce.reproduce import zoo_model
from brs_detr.reproduce.tables import ROWS, TABLES, find_row, rows_of


@pytest.mark.parametrize("row", [row for row in ROWS if row.config], ids=lambda row: row.name)
def test_rows_that_are_trained_have_the_config_of_their_name(row) -> None:
    config = load_config(row.config)
    assert config.train_cfg.max_epochs == row.epochs
    assert ("Swin" in row.backbone) == (config.model.backbone.type == "SwinTransformer")
    assert ("DCN" in row.backbone) == ("dcn" in config.model.backbone)
    if not row.loss:
        assert (row.detector == "BRS-DETR") == config.model.query_head.type.startswith("Ranking")
        return
    assert row.detector.replace(" ", "").replace("-", "") == config.model.type
    assert f"R-{config.model.backbone.depth}" in row.backbone
    assert classification_losses(config.model) == {LOSSES[row.loss]}
    assert config.val_evaluator.get("masks", False) == ("Mask" in row.detector)
    assert (row.metric == "mask_AP") == ("Mask" in row.detector)
    assert row.config.endswith({"coco": "coco", "cityscapes": "cityscapes", "lvis": "lvis-v1"}[row.data])


LOSSES = {
    "score-based": "score-based",
    "AP": "APLoss",
    "BAP": "BucketedAPLoss",
    "RS": "RankSortLoss",
    "BRS": "BucketedRankSortLoss",
    "aLRP": "ALRPLoss",
    "DR": "DRLoss",
}


@pytest.mark.parametrize("row", [row for row in ROWS if row.zoo], ids=lambda row: row.name)
def test_figures_of_the_zoo_are_those_in_mmdet(row) -> None:
    model = zoo_model(row.zoo)
    results = {name: value for result in model["Results"] for name, value in result["Metrics"].items()}
    assert results["mask AP" if row.metric == "mask_AP" else "box AP"] == pytest.approx(100 * row.paper_ap)
    assert model["Metadata"]["Epochs"] == row.epochs


def test_every_row_has_a_figure_or_none_and_its_source() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.loss if row.paper_ap is None else 0.2 < row.paper_ap < 0.6
        assert row.paper_s is None or 0.1 < row.paper_s < 2
        assert row.source and row.tables and set(row.tables) <= set(TABLES)
    assert [row.name for row in rows_of("table5")] == [
        *("co-r50", "brs-r50", "co-swin-t", "brs-swin-t", "co-swin-l", "brs-swin-l")
    ]


def test_every_config_of_a_ranking_loss_is_a_row() -> None:
    shipped = {entry.name for entry in list_configs() if entry.path.parent.name == "ranking_losses"}
    assert {row.config for row in ROWS if row.loss} == shipped
    assert {table for row in ROWS for table in row.tables} == set(TABLES)


def test_the_index_of_weights_has_the_same_figures() -> None:
    released = {row.weights: row for row in ROWS if row.weights}
    assert released.keys() == read_index().keys()
    for name, entry in read_index().items():
        assert entry.paper_ap == pytest.approx(100 * released[name].paper_ap)
        assert (entry.config, entry.source) == (released[name].config, released[name].source)


def test_an_unknown_row() -> None:
    with pytest.raises(UserError, match=r"no row 'brs-r51' in table5\.\s+Did you mean 'brs-r50'"):
        find_row("brs-r51", "table5")
    with pytest.raises(UserError, match="no row 'dino-r50' in table5"):
        find_row("dino-r50", "table5")
    assert find_row("dino-r50").detector.startswith("DINO")
