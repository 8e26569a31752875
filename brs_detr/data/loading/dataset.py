"""A COCO-format split as an mmdet dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset

from brs_detr.data.annotations import read_class_names
from brs_detr.data.loading.coco_index import CleanCoco
from brs_detr.errors import UserError, shortened


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
        UserError: the annotation file cannot be used, or does not know a class of `metainfo`.
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
