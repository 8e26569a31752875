from __future__ import annotations

import copy

import pytest

from brs_detr.data.checks.cleaning import clean_annotations
from brs_detr.data.findings import ZERO_AREA_BOX
from brs_detr.errors import UserError


def test_cleaning_drops_clips_sorts_and_completes(coco) -> None:
    coco.data["annotations"][0]["bbox"] = [-0.5, 0, 41, 30]
    coco.data["annotations"][2]["bbox"] = [3, 3, 0, 9]
    before = copy.deepcopy(coco.data)
    clean, findings = clean_annotations(coco.data, coco.split.annotation_file)
    assert coco.data == before
    assert [category["name"] for category in clean["categories"]] == ["cat", "dog"]
    first, second = clean["annotations"]
    assert first["bbox"] == [0, 0, 40, 30] and first["area"] == 1200
    assert second["bbox"] == [5.5, 6, 10, 10] and (second["area"], second["iscrowd"]) == (100, 0)
    assert findings.count(ZERO_AREA_BOX) == 1
    assert len(clean["images"]) == 3  # images without an object stay


def test_cleaning_refuses_what_the_check_refuses(coco) -> None:
    coco.data["annotations"][0]["category_id"] = 8
    with pytest.raises(UserError, match="annotation 1: category 8"):
        clean_annotations(coco.data, coco.split.annotation_file)
