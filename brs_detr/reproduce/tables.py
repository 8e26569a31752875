"""Tables 5 and 6 of the paper: what each row is, the figure published for it, and how to get it here."""

from __future__ import annotations

from dataclasses import dataclass

from brs_detr.errors import UserError, did_you_mean

TABLES = ("table5", "table6")

NOISE = 0.003
"""Difference in AP between two runs with different seeds that the field takes for noise."""

_OFFICIAL = "github.com/blisgard/BucketedRankingBasedLosses, README at 9ba3b0e"
_TABLE_5 = "brs-co-deformable-detr_{}_8xb2-12e_coco"


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        name: on the command line.
        detector, backbone: as the paper calls them.
        epochs: of its training.
        paper_ap: box AP on COCO val2017, in [0, 1].
        source: where that figure is published.
        tables: that it stands in.
        config: of ours, by name; None where we do not train it.
        weights: released ones, by their name in `checkpoints/index.toml`.
        zoo: config of mmdet, whose zoo has weights for it.
    """

    name: str
    detector: str
    backbone: str
    epochs: int
    paper_ap: float
    source: str
    tables: tuple[str, ...]
    config: str | None = None
    weights: str | None = None
    zoo: str | None = None


def _ours(name: str, backbone: str, ap: float, weights: bool, tables: tuple[str, ...] = ("table5",)) -> Row:
    kind, _, backbone_name = name.partition("-")
    detector = "BRS-DETR" if kind == "brs" else "Co-DETR"
    config = _TABLE_5.format(backbone_name) if kind == "brs" else _TABLE_5.format(backbone_name).removeprefix("brs-")
    return Row(name, detector, backbone, 12, ap, _OFFICIAL, tables, config, f"{config}_official" if weights else None)


ROWS = (
    _ours("co-r50", "R-50", 0.493, True, TABLES),
    _ours("brs-r50", "R-50", 0.501, True, TABLES),
    _ours("co-swin-t", "Swin-T", 0.517, False),
    _ours("brs-swin-t", "Swin-T", 0.523, True),
    _ours("co-swin-l", "Swin-L", 0.569, False),
    _ours("brs-swin-l", "Swin-L", 0.572, False),
    Row(
        "detr-r50",
        "DETR",
        "R-50",
        150,
        0.399,
        "mmdet 3.3, configs/detr/metafile.yml",
        ("table6",),
        zoo="detr/detr_r50_8xb2-150e_coco",
    ),
    Row("dn-detr-r50", "DN-DETR", "R-50", 12, 0.434, "github.com/IDEA-Research/DN-DETR, README", ("table6",)),
    Row(
        "dino-r50",
        "DINO, 4 scales",
        "R-50",
        12,
        0.490,
        "mmdet 3.3, configs/dino/metafile.yml; github.com/IDEA-Research/DINO, README",
        ("table6",),
        zoo="dino/dino-4scale_r50_8xb2-12e_coco",
    ),
    Row(
        "h-detr-r50",
        "H-Deformable-DETR",
        "R-50",
        12,
        0.487,
        "github.com/HDETR/H-Deformable-DETR, README",
        ("table6",),
    ),
)
"""The rest of Table 6 as its authors, or mmdet's zoo, publish it: the paper's own copy of those figures may differ."""


def rows_of(table: str) -> list[Row]:
    """The rows of a table, in its order."""
    return [row for row in ROWS if table in row.tables]


def trained_configs() -> list[str]:
    """Configs of the rows that are trained here."""
    return [row.config for row in ROWS if row.config is not None]


def find_row(name: str, table: str | None = None) -> Row:
    """The row of a name.

    Raises:
        UserError: there is none; the message names the nearest one.
    """
    rows = {row.name: row for row in (ROWS if table is None else rows_of(table))}
    if name not in rows:
        raise UserError(f"There is no row {name!r} in {table or 'the tables'}.", did_you_mean(name, rows))
    return rows[name]
