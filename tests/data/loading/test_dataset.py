from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, DefaultScope
from torch.utils.data import DataLoader

from brs_detr.data.loading.registry import register
from brs_detr.errors import UserError
from brs_detr.runtime.images import UnreadableImage

PIPELINE = [{"type": "LoadImage"}, {"type": "LoadAnnotations", "with_bbox": True}, {"type": "PackDetInputs"}]


@pytest.fixture(autouse=True)
def mmdet_scope():
    register()
    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


def build(coco, **options: Any) -> Any:
    coco.write()
    folder = coco.split.annotation_file.parents[1]
    config = {
        "type": "CocoFolderDataset",
        "data_root": str(folder),
        "ann_file": "annotations/train.json",
        "data_prefix": {"img": "train/"},
        "pipeline": PIPELINE,
    }
    return DATASETS.build(config | options)


def instances(dataset: Any) -> list[list[tuple[list[float], int]]]:
    return [
        [(thing["bbox"], thing["bbox_label"]) for thing in dataset.get_data_info(index)["instances"]]
        for index in range(len(dataset))
    ]


def test_names_come_from_the_file_and_empty_images_are_kept(coco) -> None:
    dataset = build(coco)
    assert dataset.metainfo["classes"] == ("cat", "dog")
    cat, dog = 0, 1
    assert instances(dataset) == [[([0, 0, 40, 30], cat), ([5.5, 6, 15.5, 16], dog)], [([1, 2, 4, 6], dog)], []]
    sample = dataset[0]
    assert sample["inputs"].shape == (3, 30, 40)
    assert sample["data_samples"].gt_instances.labels.tolist() == [cat, dog]


@pytest.mark.parametrize("ids", [(0, 1), (1, 2), (1, 0), (90, 4)])
def test_labels_do_not_depend_on_the_ids(coco, ids: tuple[int, int]) -> None:
    expected = instances(build(coco, metainfo={"classes": ("cat", "dog")}))
    new_id = {3: ids[0], 7: ids[1]}
    for category in coco.data["categories"]:
        category["id"] = new_id[category["id"]]
    for annotation in coco.data["annotations"]:
        annotation["category_id"] = new_id[annotation["category_id"]]
    assert instances(build(coco, metainfo={"classes": ("cat", "dog")})) == expected


def test_given_names_fix_the_order_and_may_leave_classes_out(coco) -> None:
    dog = build(coco, metainfo={"classes": ("dog", "cat")})
    assert [label for image in instances(dog) for _, label in image] == [1, 0, 0]
    assert [label for image in instances(build(coco, metainfo={"classes": ("dog",)})) for _, label in image] == [0, 0]


def test_a_name_the_file_does_not_know_is_refused(coco) -> None:
    with pytest.raises(UserError, match="no category bird; it has cat, dog"):
        build(coco, metainfo={"classes": ("cat", "bird")})


def test_crowds_are_ignored_and_zero_area_boxes_dropped_with_a_warning(coco, monkeypatch) -> None:
    coco.data["annotations"][0]["iscrowd"] = 1
    coco.data["annotations"][1]["bbox"] = [5, 6, 0, 10]
    records: list[logging.LogRecord] = []
    monkeypatch.setattr(MMLogger.get_current_instance(), "handle", records.append)
    dataset = build(coco)
    (crowd,) = dataset.get_data_info(0)["instances"]
    assert crowd["ignore_flag"] == 1
    (record,) = [record for record in records if record.levelno == logging.WARNING]
    assert "zero-area box: 1 (annotation 2" in record.getMessage()


def test_a_fatal_fault_stops_the_data_set_too(coco) -> None:
    coco.data["annotations"][0]["bbox"] = [0, 0, float("nan"), 1]
    with pytest.raises(UserError, match="NaN"):
        build(coco)


@pytest.mark.parametrize(("fault", "num_workers"), [("broken", 0), ("broken", 1), ("empty", 0), ("missing", 0)])
def test_an_unreadable_image_is_named_with_and_without_workers(coco, fault: str, num_workers: int) -> None:
    path = coco.image("b.png")
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(b"\x89PNG no image" * (fault == "broken"))
    loader = DataLoader(build(coco), batch_size=None, num_workers=num_workers, collate_fn=lambda sample: sample)
    reasons = {"missing": "there is no such file", "empty": "it is empty", "broken": "it is not an image"}
    with pytest.raises(UnreadableImage) as caught:
        list(loader)
    assert str(caught.value).splitlines() == [
        f"Cannot read the image {path}: {reasons[fault]}",
        "  Replace the file, or leave it out.",
    ]


def test_the_data_package_imports_without_mmdet() -> None:
    code = (
        "import sys, brs_detr.data.synthetic.shapes, brs_detr.data.checks.check, brs_detr.data.formats.voc;"
        "import brs_detr.runtime.draw;"
        "print(sorted({'torch', 'mmdet', 'mmengine', 'matplotlib'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
