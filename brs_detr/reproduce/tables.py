"""The tables of the paper: what each row is, the figure published for it, and how to get it here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from brs_detr.errors import UserError, did_you_mean

TABLES = {
    "table1": "multi-stage detectors on COCO val2017",
    "table2": "one-stage detectors on COCO val2017",
    "table3": "instance segmentation on COCO val2017",
    "table4": "the time that buckets save, spent on more epochs",
    "table5": "Co-DETR on COCO val2017",
    "table6": "transformers on COCO val2017",
    "table7": "instance segmentation on Cityscapes val",
    "table8": "instance segmentation on LVIS v1 val",
}
"""What each shows."""

NOISE = 0.003
"""Difference in AP between two runs with different seeds that the field takes for noise."""

OFFICIAL = "github.com/blisgard/BucketedRankingBasedLosses, README at 9ba3b0e"
_TABLE_5 = "brs-co-deformable-detr_{}_8xb2-12e_coco"


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        name: on the command line.
        detector, backbone: as the paper calls them.
        epochs: of its training.
        paper_ap: published AP, in [0, 1]; None where we found none.
        source: where that figure is published.
        tables: that it stands in.
        config: of ours, by name; None where we do not train it.
        weights: released ones, by their name in `checkpoints/index.toml`.
        zoo: config of mmdet, whose zoo has weights for it.
        loss: as the paper calls it, where a detector has several.
        data: a key of `brs_detr.reproduce.data_sets.DATA_SETS`.
        metric: that `paper_ap` is of, `AP` of boxes or `mask_AP`.
        paper_s: published seconds of an iteration, on 4 A100 with 4 images each.
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


_TRANSFORMERS = (
    _ours("co-r50", "R-50", 0.493, True, ("table5", "table6")),
    _ours("brs-r50", "R-50", 0.501, True, ("table5", "table6")),
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
"""The rest of Table 6 is as its authors, or mmdet's zoo, publish it: the paper's copy of those figures may differ."""

_LOSSES = {
    "": "score-based",
    "ap": "AP",
    "bap": "BAP",
    "rs": "RS",
    "brs": "BRS",
    "alrp": "aLRP",
    "dr": "DR",
}


def _detectors(
    table: str,
    detector: str,
    backbone: str,
    figures: Mapping[str, tuple[float | None, float | None]],
    *,
    epochs: int = 12,
    data: str = "coco",
    zoo: tuple[str, float] | None = None,
    masks: bool = False,
) -> list[Row]:
    """The rows of one detector.

    Args:
        table: that they stand in.
        detector, backbone: as the paper calls them.
        figures: AP and seconds an iteration by loss, a key of `_LOSSES`.
        epochs: of its training.
        data: a key of `brs_detr.reproduce.data_sets.DATA_SETS`.
        zoo: mmdet's config of the score-based detector, and its AP.
        masks: whether AP is that of masks.
    """
    short, size = detector.lower().replace("r-cnn", "rcnn").replace(" ", "-"), backbone.lower().replace("-", "", 1)
    scales = "-ms" if epochs == 36 else ""
    suffix = {"coco": "", "cityscapes": "-cityscapes", "lvis": "-lvis"}[data] + ("" if epochs == 12 else f"-{epochs}e")
    data_name = {"lvis": "lvis-v1"}.get(data, data)
    rows = []
    for loss, (ap, seconds) in figures.items():
        prefix = f"{loss}-" if loss else ""
        is_of_zoo = not loss and zoo is not None
        rows.append(
            Row(
                name=f"{prefix}{short}-{size}{suffix}",
                detector=detector,
                backbone=backbone,
                epochs=epochs,
                paper_ap=zoo[1] if is_of_zoo and zoo else ap,
                source=f"mmdet 3.3, configs/{zoo[0].split('/')[0]}/metafile.yml" if is_of_zoo and zoo else OFFICIAL,
                tables=(table,),
                config=f"{prefix}{short}_{size}_fpn_4xb4{scales}-{epochs}e_{data_name}",
                zoo=zoo[0] if is_of_zoo and zoo else None,
                loss=_LOSSES[loss],
                data=data,
                metric="mask_AP" if masks else "AP",
                paper_s=seconds,
            )
        )
    return rows


_UNKNOWN = (None, None)
_DETECTORS = (
    *_detectors(
        "table1",
        "Faster R-CNN",
        "R-50",
        {"": _UNKNOWN, "ap": _UNKNOWN, "bap": _UNKNOWN, "alrp": _UNKNOWN, "rs": (0.395, 0.58), "brs": (0.395, 0.19)},
        zoo=("faster_rcnn/faster-rcnn_r50_fpn_1x_coco", 0.374),
    ),
    *_detectors("table1", "Faster R-CNN", "R-101", {"": _UNKNOWN, "rs": _UNKNOWN, "brs": _UNKNOWN}, epochs=36),
    *_detectors(
        "table1",
        "Faster R-CNN",
        "R-101-DCN",
        {"": _UNKNOWN, "rs": (0.473, 0.91), "brs": (0.477, 0.47)},
        epochs=36,
    ),
    *_detectors(
        "table1",
        "Cascade R-CNN",
        "R-50",
        {"": _UNKNOWN, "rs": (0.411, 1.54), "brs": (0.411, 0.29)},
        zoo=("cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco", 0.403),
    ),
    *_detectors(
        "table2",
        "ATSS",
        "R-50",
        {
            "": _UNKNOWN,
            "ap": (0.383, 0.34),
            "bap": (0.385, 0.18),
            "alrp": _UNKNOWN,
            "dr": _UNKNOWN,
            "rs": (0.398, 0.44),
            "brs": (0.398, 0.19),
        },
        zoo=("atss/atss_r50_fpn_1x_coco", 0.394),
    ),
    *_detectors(
        "table2",
        "PAA",
        "R-50",
        {"": _UNKNOWN, "ap": (0.373, None), "bap": (0.372, None), "rs": (0.408, None), "brs": (0.408, 0.36)},
        zoo=("paa/paa_r50_fpn_1x_coco", 0.404),
    ),
    *_detectors(
        "table2",
        "RetinaNet",
        "R-50",
        {"": _UNKNOWN, "ap": _UNKNOWN, "bap": _UNKNOWN, "dr": _UNKNOWN, "rs": _UNKNOWN, "brs": _UNKNOWN},
        zoo=("retinanet/retinanet_r50_fpn_1x_coco", 0.365),
    ),
    *_detectors(
        "table3",
        "Mask R-CNN",
        "R-50",
        {"": _UNKNOWN, "rs": (0.363, 0.68), "brs": (0.362, 0.29)},
        zoo=("mask_rcnn/mask-rcnn_r50_fpn_1x_coco", 0.347),
        masks=True,
    ),
    *_detectors(
        "table3",
        "Mask R-CNN",
        "R-101",
        {"": _UNKNOWN, "rs": (0.402, 0.71), "brs": (0.403, 0.33)},
        epochs=36,
        masks=True,
    ),
    *_detectors("table4", "Cascade R-CNN", "R-50", {"brs": (None, 0.29)}, epochs=27),
    *_detectors("table4", "Mask R-CNN", "R-50", {"brs": (None, 0.29)}, epochs=27, masks=True),
    *_detectors(
        "table7",
        "Mask R-CNN",
        "R-50",
        {"": _UNKNOWN, "rs": (0.382, 0.43), "brs": (0.385, 0.19)},
        data="cityscapes",
        masks=True,
    ),
    *_detectors(
        "table8",
        "Mask R-CNN",
        "R-50",
        {"": _UNKNOWN, "rs": (0.256, 0.87), "brs": (0.258, 0.35)},
        data="lvis",
        masks=True,
    ),
)
"""Figures of RS and BRS are those of the official README, of score-based detectors of mmdet's zoo; others we lack."""

ROWS = (*_DETECTORS, *_TRANSFORMERS)


def rows_of(table: str) -> list[Row]:
    """The rows of a table, in its order."""
    return [row for row in ROWS if table in row.tables]


def trained_configs(table: str = "table5") -> list[str]:
    """Configs of the rows of a table that are trained here."""
    return [row.config for row in rows_of(table) if row.config is not None]


def suite() -> list[Row]:
    """The rows of Tables 1, 2, 3, 7 and 8 with BRS Loss: one of each detector, backbone and data set."""
    timed = ("table1", "table2", "table3", "table7", "table8")
    return [row for table in timed for row in rows_of(table) if row.loss == "BRS"]


def published_speed_up(config: str) -> float | None:
    """How many times faster buckets made a step of Rank & Sort Loss, of the row with a config of BRS."""
    seconds = {row.config: row.paper_s for row in ROWS}
    bucketed, loop = seconds.get(config), seconds.get(config.replace("brs-", "rs-", 1))
    return loop / bucketed if bucketed and loop else None


def find_row(name: str, table: str | None = None) -> Row:
    """The row of a name.

    Raises:
        UserError: there is none; the message names the nearest one.
    """
    rows = {row.name: row for row in (ROWS if table is None else rows_of(table))}
    if name not in rows:
        raise UserError(f"There is no row {name!r} in {table or 'the tables'}.", did_you_mean(name, rows))
    return rows[name]
