from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brs_detr.data.formats.coco_folder import CocoSplit


class SmallCoco:
    """A correct dataset of three pictures in a folder, to be broken by a test."""

    def __init__(self, folder: Path) -> None:
        self.split = CocoSplit("train", folder / "annotations" / "train.json", folder / "train")
        self.split.image_dir.mkdir(parents=True)
        self.split.annotation_file.parent.mkdir()
        names = ("a.jpg", "b.png", "c.bmp")
        self.data: dict[str, Any] = {
            "images": [{"id": 10 * n, "file_name": name, "width": 40, "height": 30} for n, name in enumerate(names, 1)],
            "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
            "annotations": [
                {"id": 1, "image_id": 10, "category_id": 3, "bbox": [0, 0, 40, 30], "area": 1200, "iscrowd": 0},
                {"id": 2, "image_id": 10, "category_id": 7, "bbox": [5.5, 6, 10, 10]},
                {"id": 3, "image_id": 20, "category_id": 7, "bbox": [1, 2, 3, 4]},
            ],
        }
        for image in self.data["images"]:
            noise = np.random.default_rng(image["id"]).integers(0, 255, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(self.image(image["file_name"]))
        self.write()

    def image(self, name: str) -> Path:
        return self.split.image_dir / name

    def write(self) -> None:
        self.split.annotation_file.write_text(json.dumps(self.data))


@pytest.fixture
def coco(tmp_path: Path) -> SmallCoco:
    return SmallCoco(tmp_path / "set")
