"""A COCO-format split as an mmdet dataset."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log

from brs_detr.data.annotations import read_annotations, read_class_names
from brs_detr.data.checks.cleaning import clean_annotations
from brs_detr.errors import UserError, shortened


class CleanCoco(COCO):
    """pycocotools' index of a COCO annotation file after `brs_detr.data.checks.cleaning`; what was dropped is logged.

    Raises:
        UserError: the file cannot be read or has fatal faults.
    """

    def __init__(self, annotation_file: str | Path) -> None:
        super().__init__(None)
        self.dataset, findings = clean_annotations(read_annotations(annotation_file), Path(annotation_file))
        for finding in findings.warnings:
            print_log(f"{annotation_file}: {finding}", logger="current", level=logging.WARNING)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(
        self, cat_names: Sequence[str] = (), sup_names: Sequence[str] = (), cat_ids: Sequence[int] = ()
    ) -> list[int]:
        """Category ids in the order of the names, so that a label means the same class in every file.

        pycocotools returns them in the order of the file instead.
        """
        ids = super().get_cat_ids(list(cat_names), list(sup_names), list(cat_ids))
        if not cat_names:
            return ids
        label_of = {name: label for label, name in enumerate(cat_names)}
        return sorted(ids, key=lambda cat_id: label_of[self.cats[cat_id]["name"]])


class CocoFolderDataset(CocoDataset):
    """mmdet's `CocoDataset` for data of any classes.

    Class names come from the annotation file unless `metainfo` gives them; labels follow the names, whatever the
    category ids are. Zero-area boxes are dropped with a counted warning, images without an object are kept.

    Args:
        ann_file: COCO annotation file, relative to `data_root` when that is given.
        data_root: folder in front of `ann_file` and `data_prefix`.
        metainfo: `classes` fixes the names and their order.
        kwargs: as in mmdet.

    Raises:
        UserError: the annotation file cannot be used, or does not have a class of `metainfo`.
    """

    METAINFO: dict[str, Any] = {}
    COCOAPI = CleanCoco

    def __init__(
        self, ann_file: str = "", metainfo: dict | None = None, data_root: str | None = "", **kwargs: Any
    ) -> None:
        path = Path(data_root or "") / ann_file
        names = read_class_names(path)
        metainfo = {"classes": tuple(names), **(metainfo or {})}
        odd = set(metainfo["classes"]) - set(names)
        if odd:
            raise UserError(
                f"{path} has no category {shortened(sorted(odd))}; it has {shortened(names)}.",
                "List the same categories in the annotation file of every split.",
            )
        super().__init__(ann_file=ann_file, metainfo=metainfo, data_root=data_root, **kwargs)
