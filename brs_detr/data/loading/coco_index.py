"""pycocotools' index over a cleaned annotation file, as mmdet's dataset asks for it."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path

from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log

from brs_detr.data.annotations import read_annotations
from brs_detr.data.checks.cleaning import clean_annotations


class CleanCoco(COCO):
    """Index of a COCO annotation file after `brs_detr.data.checks.cleaning`; what was dropped is logged.

    Args:
        annotation_file: COCO annotation file.

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

        pycocotools answers in the order of the file instead.
        """
        ids = super().get_cat_ids(list(cat_names), list(sup_names), list(cat_ids))
        if not cat_names:
            return ids
        places = {name: place for place, name in enumerate(cat_names)}
        return sorted(ids, key=lambda cat_id: places[self.cats[cat_id]["name"]])
