"""Images that real data sets have and trainings trip over, each a batch of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from brs_detr.finetune.fine_tuning import finetune
from brs_detr.report.history import read_scalars
from brs_detr.training.train import TrainedRun, train

QUIET = Console(quiet=True)


def many_boxes(number: int) -> list[list[float]]:
    places = np.random.default_rng(0).uniform(0, 56, (number, 2))
    return [[x, y, 6.0, 5.0] for x, y in places.round(1).tolist()]


ODD = {
    "one box": ((64, 64), [[8.0, 8.0, 30.0, 20.0]], 0),
    "one pixel": ((1, 1), [[0.0, 0.0, 1.0, 1.0]], 0),
    "one pixel, nothing in it": ((1, 1), [], 0),
    "a line": ((1, 200), [[10.0, 0.0, 50.0, 1.0]], 0),
    "crowds alone": ((64, 64), [[8.0, 8.0, 30.0, 20.0], [0.0, 0.0, 64.0, 64.0]], 1),
    "a thousand boxes": ((64, 64), many_boxes(1000), 0),
    "the same box twenty times": ((64, 64), [[8.0, 8.0, 30.0, 20.0]] * 20, 0),
    "a box of a hundredth of a pixel": ((64, 64), [[8.0, 8.0, 0.01, 0.01]], 0),
    "nothing": ((64, 64), [], 0),
}


@pytest.fixture(scope="module")
def odd_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training and validation images are the same."""
    folder = tmp_path_factory.mktemp("odd")
    content: dict[str, list] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "thing"}]}
    for number, ((height, width), boxes, crowd) in enumerate(ODD.values(), start=1):
        file = {"id": number, "file_name": f"{number}.png", "height": height, "width": width}
        content["images"].append(file)
        for box in boxes:
            place = {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": 1, "bbox": box}
            content["annotations"].append({**place, "area": box[2] * box[3], "iscrowd": crowd})
        for split in ("train", "val"):
            (folder / split).mkdir(exist_ok=True)
            Image.new("RGB", (width, height), (90, 120, 60)).save(folder / split / f"{number}.png")
    (folder / "annotations").mkdir()
    for split in ("train", "val"):
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(content))
    return folder


def assert_finite(run: TrainedRun, num_steps: int) -> None:
    records = read_scalars(run.work_dir / "vis_data" / "scalars.json")
    assert len(records.train) == num_steps
    assert all(np.isfinite(record["loss"]) for record in records.train)
    assert len(records.val) == 1
    assert json.loads((run.work_dir / "run.json").read_text()).get("skipped_steps", 0) == 0


@pytest.mark.parametrize("config_name", ["tiny_config", "tiny_plain_config"])
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.fault(
    "Images and annotations",
    "an image of one pixel, with a box or without",
    "trained on, each in a batch of its own and among others",
)
@pytest.mark.fault(
    "Images and annotations", "an image that is one line of pixels", "likewise; it is never resized to nothing"
)
@pytest.mark.fault("Images and annotations", "a thousand boxes in an image", "likewise")
@pytest.mark.fault(
    "Images and annotations", "a single box; the same box twenty times; a box of a hundredth of a pixel", "likewise"
)
def test_odd_images(
    config_name: str, batch_size: int, odd_images: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    overrides = [f"train_dataloader.batch_size={batch_size}"]
    config = request.getfixturevalue(config_name)
    run = train(config, odd_images, tmp_path / "run", seed=0, epochs=1, overrides=overrides, console=QUIET)
    assert_finite(run, len(ODD) // batch_size)


@pytest.mark.parametrize("mosaic", [False, True])
@pytest.mark.fault(
    "Images and annotations",
    "the same images through the augmentation of `finetune`, with mosaic and without",
    "likewise",
)
def test_odd_images_in_fine_tuning(mosaic: bool, odd_images: Path, tiny_config: Path, tmp_path: Path) -> None:
    settings = {"epochs": 1, "mosaic": mosaic, "patience": 0}
    overrides = ["plain_epochs=0"]
    options = dict(settings=settings, overrides=overrides, batch=1, weights="none", seed=0, console=QUIET)
    run = finetune(odd_images, str(tiny_config), tmp_path / "run", **options)
    assert_finite(run, len(ODD))
