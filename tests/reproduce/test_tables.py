from __future__ import annotations

import pytest

from brs_detr.engine.checkpoint_index import read_index
from brs_detr.engine.config import load_config
from brs_detr.errors import UserError
from brs_detr.reproduce.released import zoo_model
from brs_detr.reproduce.tables import ROWS, TABLES, find_row, rows_of


@pytest.mark.parametrize("row", [row for row in ROWS if row.config], ids=lambda row: row.name)
def test_rows_that_are_trained_have_the_config_of_their_name(row) -> None:
    config = load_config(row.config)
    assert config.train_cfg.max_epochs == row.epochs
    assert ("Swin" in row.backbone) == (config.model.backbone.type == "SwinTransformer")
    assert (row.detector == "BRS-DETR") == config.model.query_head.type.startswith("Ranking")


@pytest.mark.parametrize("row", [row for row in ROWS if row.zoo], ids=lambda row: row.name)
def test_figures_of_the_zoo_are_those_in_mmdet(row) -> None:
    model = zoo_model(row.zoo)
    assert model["Results"][0]["Metrics"]["box AP"] == pytest.approx(100 * row.paper_ap)
    assert model["Metadata"]["Epochs"] == row.epochs


def test_every_row_has_a_figure_and_its_source() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert 0.3 < row.paper_ap < 0.6
        assert row.source and row.tables and set(row.tables) <= set(TABLES)
    assert [row.name for row in rows_of("table5")] == [
        *("co-r50", "brs-r50", "co-swin-t", "brs-swin-t", "co-swin-l", "brs-swin-l")
    ]


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
