"""The tables of the paper: their rows, the published figures, and the configs and weights to reproduce them."""

from __future__ import annotations

from dataclasses import dataclass

from brs_detr.errors import UserError, did_you_mean

TABLES = {
    "table1": "multi-stage detectors on COCO val2017",
    "table2": "one-stage detectors on COCO val2017",
    "table3": "instance segmentation on COCO val2017",
    "table4": "longer training in the time that bucketing saves",
    "table5": "Co-DETR on COCO val2017",
    "table6": "transformers on COCO val2017",
    "table7": "instance segmentation on Cityscapes val",
    "table8": "instance segmentation on LVIS v1 val",
}
"""Title of each table."""

NOISE = 0.003
"""Difference in AP between runs with different seeds that is commonly regarded as noise."""

OFFICIAL = "github.com/blisgard/BucketedRankingBasedLosses, README at 9ba3b0e"
_TABLE_5 = "brs-co-deformable-detr_{}_8xb2-12e_coco"


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        name: name on the command line.
        detector: name in the paper.
        backbone: name in the paper.
        epochs: length of the training.
        paper_ap: published AP in [0, 1], or None if we found none.
        source: where that AP is published.
        tables: tables with this row.
        config: name of our config, or None if we do not train the row.
        weights: name of the released weights in `checkpoints/index.toml`, if any.
        zoo: config of mmdet with weights in its model zoo, if any.
        loss: name in the paper, if the table compares losses.
        data: a key of `brs_detr.reproduce.data_sets.DATA_SETS`.
        metric: metric of `paper_ap`, `AP` of boxes or `mask_AP`.
        paper_s: published seconds per iteration on 4 A100 with 4 images each.
    """

    name: str
    detector: str
    backbone: str
    epochs: int
    paper_ap: float | None
    source: str
    tables: tuple[str, ...]
    config: str | None = None
    weights: str | None = None
    zoo: str | None = None
    loss: str = ""
    data: str = "coco"
    metric: str = "AP"
    paper_s: float | None = None


def _ours(name: str, backbone: str, ap: float, weights: bool, tables: tuple[str, ...] = ("table5",)) -> Row:
    kind, _, backbone_name = name.partition("-")
    detector = "BRS-DETR" if kind == "brs" else "Co-DETR"
    config = _TABLE_5.format(backbone_name) if kind == "brs" else _TABLE_5.format(backbone_name).removeprefix("brs-")
    return Row(name, detector, backbone, 12, ap, OFFICIAL, tables, config, f"{config}_official" if weights else None)


def _other_transformer(name: str, detector: str, epochs: int, ap: float, source: str, zoo: str | None = None) -> Row:
    return Row(name, detector, "R-50", epochs, ap, source, ("table6",), zoo=zoo)


_DETR_ZOO, _DINO_ZOO = "detr/detr_r50_8xb2-150e_coco", "dino/dino-4scale_r50_8xb2-12e_coco"
_DINO_SOURCE = "mmdet 3.3, configs/dino/metafile.yml; github.com/IDEA-Research/DINO, README"
_TRANSFORMERS = (
    _ours("co-r50", "R-50", 0.493, True, ("table5", "table6")),
    _ours("brs-r50", "R-50", 0.501, True, ("table5", "table6")),
    _ours("co-swin-t", "Swin-T", 0.517, False),
    _ours("brs-swin-t", "Swin-T", 0.523, True),
    _ours("co-swin-l", "Swin-L", 0.569, False),
    _ours("brs-swin-l", "Swin-L", 0.572, False),
    _other_transformer("detr-r50", "DETR", 150, 0.399, "mmdet 3.3, configs/detr/metafile.yml", _DETR_ZOO),
    _other_transformer("dn-detr-r50", "DN-DETR", 12, 0.434, "github.com/IDEA-Research/DN-DETR, README"),
    _other_transformer("dino-r50", "DINO, 4 scales", 12, 0.490, _DINO_SOURCE, _DINO_ZOO),
    _other_transformer("h-detr-r50", "H-Deformable-DETR", 12, 0.487, "github.com/HDETR/H-Deformable-DETR, README"),
)
"""Other rows of Table 6 are as their authors, or mmdet's zoo, publish them. The figures in the paper may differ."""

_LOSSES = {"score": "score-based", "ap": "AP", "bap": "BAP", "rs": "RS", "brs": "BRS", "alrp": "aLRP", "dr": "DR"}

_FIGURES: dict[str, tuple[float | None, float | None]] = {
    "rs-faster-rcnn-r50": (0.395, 0.58),
    "brs-faster-rcnn-r50": (0.395, 0.19),
    "rs-faster-rcnn-r101-dcn-36e": (0.473, 0.91),
    "brs-faster-rcnn-r101-dcn-36e": (0.477, 0.47),
    "rs-cascade-rcnn-r50": (0.411, 1.54),
    "brs-cascade-rcnn-r50": (0.411, 0.29),
    "ap-atss-r50": (0.383, 0.34),
    "bap-atss-r50": (0.385, 0.18),
    "rs-atss-r50": (0.398, 0.44),
    "brs-atss-r50": (0.398, 0.19),
    "ap-paa-r50": (0.373, None),
    "bap-paa-r50": (0.372, None),
    "rs-paa-r50": (0.408, None),
    "brs-paa-r50": (0.408, 0.36),
    "rs-mask-rcnn-r50": (0.363, 0.68),
    "brs-mask-rcnn-r50": (0.362, 0.29),
    "rs-mask-rcnn-r101-36e": (0.402, 0.71),
    "brs-mask-rcnn-r101-36e": (0.403, 0.33),
    "brs-cascade-rcnn-r50-27e": (None, 0.29),
    "brs-mask-rcnn-r50-27e": (None, 0.29),
    "rs-mask-rcnn-r50-cityscapes": (0.382, 0.43),
    "brs-mask-rcnn-r50-cityscapes": (0.385, 0.19),
    "rs-mask-rcnn-r50-lvis": (0.256, 0.87),
    "brs-mask-rcnn-r50-lvis": (0.258, 0.35),
}
"""AP and seconds per iteration by row, from the official README. Others are not published there."""

_ZOO = {
    "faster-rcnn-r50": ("faster_rcnn/faster-rcnn_r50_fpn_1x_coco", 0.374),
    "cascade-rcnn-r50": ("cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco", 0.403),
    "atss-r50": ("atss/atss_r50_fpn_1x_coco", 0.394),
    "paa-r50": ("paa/paa_r50_fpn_1x_coco", 0.404),
    "retinanet-r50": ("retinanet/retinanet_r50_fpn_1x_coco", 0.365),
    "mask-rcnn-r50": ("mask_rcnn/mask-rcnn_r50_fpn_1x_coco", 0.347),
}
"""Config of mmdet and its AP by row, from mmdet's model zoo."""


def _detectors(
    table: str, detector: str, backbone: str, losses: str, epochs: int = 12, data: str = "coco"
) -> list[Row]:
    """Return the rows of a detector.

    Args:
        table: table of the paper.
        detector: name in the paper.
        backbone: name in the paper.
        losses: keys of `_LOSSES`, separated by spaces.
        epochs: length of the training.
        data: a key of `brs_detr.reproduce.data_sets.DATA_SETS`.
    """
    short, size = detector.lower().replace("r-cnn", "rcnn").replace(" ", "-"), backbone.lower().replace("-", "", 1)
    scales = "-ms" if epochs == 36 else ""
    suffix = {"coco": "", "cityscapes": "-cityscapes", "lvis": "-lvis"}[data] + ("" if epochs == 12 else f"-{epochs}e")
    data_name = {"lvis": "lvis-v1"}.get(data, data)
    rows = []
    for loss in losses.split():
        prefix = "" if loss == "score" else f"{loss}-"
        name = f"{prefix}{short}-{size}{suffix}"
        ap, seconds = _FIGURES.get(name, (None, None))
        zoo, source = None, OFFICIAL
        if name in _ZOO:
            zoo, ap = _ZOO[name]
            source = f"mmdet 3.3, configs/{zoo.split('/')[0]}/metafile.yml"
        rows.append(
            Row(
                name=name,
                detector=detector,
                backbone=backbone,
                epochs=epochs,
                paper_ap=ap,
                source=source,
                tables=(table,),
                config=f"{prefix}{short}_{size}_fpn_4xb4{scales}-{epochs}e_{data_name}",
                zoo=zoo,
                loss=_LOSSES[loss],
                data=data,
                metric="mask_AP" if detector == "Mask R-CNN" else "AP",
                paper_s=seconds,
            )
        )
    return rows


_DETECTORS = (
    *_detectors("table1", "Faster R-CNN", "R-50", "score ap bap alrp rs brs"),
    *_detectors("table1", "Faster R-CNN", "R-101", "score rs brs", epochs=36),
    *_detectors("table1", "Faster R-CNN", "R-101-DCN", "score rs brs", epochs=36),
    *_detectors("table1", "Cascade R-CNN", "R-50", "score rs brs"),
    *_detectors("table2", "ATSS", "R-50", "score ap bap alrp dr rs brs"),
    *_detectors("table2", "PAA", "R-50", "score ap bap rs brs"),
    *_detectors("table2", "RetinaNet", "R-50", "score ap bap dr rs brs"),
    *_detectors("table3", "Mask R-CNN", "R-50", "score rs brs"),
    *_detectors("table3", "Mask R-CNN", "R-101", "score rs brs", epochs=36),
    *_detectors("table4", "Cascade R-CNN", "R-50", "brs", epochs=27),
    *_detectors("table4", "Mask R-CNN", "R-50", "brs", epochs=27),
    *_detectors("table7", "Mask R-CNN", "R-50", "score rs brs", data="cityscapes"),
    *_detectors("table8", "Mask R-CNN", "R-50", "score rs brs", data="lvis"),
)

ROWS = (*_DETECTORS, *_TRANSFORMERS)


def rows_of(table: str) -> list[Row]:
    """Return the rows of a table in its order."""
    return [row for row in ROWS if table in row.tables]


def trained_configs(table: str = "table5") -> list[str]:
    """Return the configs of the rows of a table that we train."""
    return [row.config for row in rows_of(table) if row.config is not None]


def suite() -> list[Row]:
    """Return the rows of Tables 1, 2, 3, 7 and 8 with BRS Loss: one per detector, backbone and dataset."""
    timed = ("table1", "table2", "table3", "table7", "table8")
    return [row for table in timed for row in rows_of(table) if row.loss == "BRS"]


def published_speed_up(config: str) -> float | None:
    """Return how many times faster BRS Loss made an iteration than Rank & Sort Loss, given the config with BRS Loss."""
    seconds = {row.config: row.paper_s for row in ROWS}
    bucketed, loop = seconds.get(config), seconds.get(config.replace("brs-", "rs-", 1))
    return loop / bucketed if bucketed and loop else None


def find_row(name: str, table: str | None = None) -> Row:
    """Return a row by name.

    Raises:
        UserError: there is no such row. The hint suggests the closest name.
    """
    rows = {row.name: row for row in (ROWS if table is None else rows_of(table))}
    if name not in rows:
        raise UserError(f"There is no row {name!r} in {table or 'the tables'}.", did_you_mean(name, rows))
    return rows[name]
