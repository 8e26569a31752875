"""Training with unusual, broken or vanishing data."""

from __future__ import annotations

import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broken_data import ERRORS, REST, make_broken
from mmengine import fileio
from PIL import Image
from rich.console import Console
from scalars import read_scalars

from brs_detr.data.checks.check import check_source
from brs_detr.data.formats.source import open_source
from brs_detr.errors import UserError
from brs_detr.run.run_folder import RunFolder
from brs_detr.training.train import TrainedRun, finetune, train

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
    "an image of one pixel, with and without a box",
    "used for training, alone in a batch and among others",
)
@pytest.mark.fault(
    "Images and annotations",
    "an image of a single row or column of pixels",
    "used for training; never resized to nothing",
)
@pytest.mark.fault("Images and annotations", "a thousand boxes in an image", "used for training")
@pytest.mark.fault(
    "Images and annotations",
    "a single box; the same box twenty times; a box of a hundredth of a pixel",
    "used for training",
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
    "all these images with the augmentation of `finetune`, with and without mosaic",
    "used for training",
)
def test_odd_images_in_fine_tuning(mosaic: bool, odd_images: Path, tiny_config: Path, tmp_path: Path) -> None:
    settings = {"epochs": 1, "mosaic": mosaic, "patience": 0}
    overrides = ["plain_epochs=0"]
    options = dict(settings=settings, overrides=overrides, batch=1, weights="none", seed=0, console=QUIET)
    run = finetune(odd_images, str(tiny_config), tmp_path / "run", **options)
    assert_finite(run, len(ODD))


def complaint(config: Path, folder: Path, tmp_path: Path) -> str:
    """The message of `train`. If the data are accepted, it is the complaint about a missing model."""
    with pytest.raises(UserError) as caught:
        train(config, folder, tmp_path / "run", overrides=["model.type=NoSuchModel"])
    return str(caught.value)


@pytest.mark.parametrize("name", ERRORS)
def test_train_refuses_an_error_in_the_words_of_the_check(tmp_path: Path, tiny_config: Path, name: str) -> None:
    make_broken(tmp_path / "set", name)
    errors = check_source(open_source(tmp_path / "set")).of_severity("error")
    message = complaint(tiny_config, tmp_path / "set", tmp_path)
    for placed in errors:
        if placed.split not in (errors[0].split, ""):
            continue  # the first unusable split ends it
        assert placed.finding.examples[0] in message and placed.finding.kind.cure in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", REST)
def test_train_takes_what_is_no_error(tmp_path: Path, tiny_config: Path, name: str) -> None:
    make_broken(tmp_path / "set", name)
    assert "NoSuchModel" in complaint(tiny_config, tmp_path / "set", tmp_path)


@pytest.mark.parametrize("name", ["zero-area box", "YOLO: label without image"])
def test_data_with_warnings_are_trained_on(tmp_path: Path, tiny_config: Path, name: str) -> None:
    make_broken(tmp_path / "set", name)
    run = train(tiny_config, tmp_path / "set", tmp_path / "run", epochs=1, seed=0)
    assert run.best_checkpoint.exists() and run.best_ap >= 0


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch):
    """Make files vanish, also for data loader workers."""
    get = fileio.get

    def begin(*names: str) -> None:
        def get_or_lose(path: str, *arguments: Any) -> bytes:
            if path.endswith(names):
                raise FileNotFoundError
            return get(path, *arguments)

        monkeypatch.setattr(fileio, "get", get_or_lose)

    return begin


def run_on(config: Path, data: Path, folder: Path, *overrides: str) -> tuple[TrainedRun, str]:
    console = Console(file=(text := io.StringIO()), width=500)
    return train(config, data, folder, seed=1, epochs=2, overrides=overrides, console=console), text.getvalue()


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.fault(
    "Images and annotations",
    "an image becomes unreadable during training",
    "reported once, counted in `run.json`; it is replaced by another image",
)
def test_another_image_takes_its_place(num_workers: int, lose, tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    lose("train/000002.jpg")
    run, said = run_on(tiny_config, shapes, tmp_path / "run", f"train_dataloader.num_workers={num_workers}")
    assert said.count("000002.jpg: there is no such file. It is replaced by another image.") == 1
    assert "000002.jpg" in (run.work_dir / "train.log").read_text()
    assert RunFolder(run.work_dir).record.read_text().count('"unreadable_images": 1') == 1


@pytest.mark.fault(
    "Images and annotations",
    "more than 1 % of the images are unreadable",
    "training stops and names them; `train_cfg.max_unreadable` sets the limit",
)
def test_many_stop_the_training(lose, tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    lose("train/000002.jpg", "train/000003.jpg")
    with pytest.raises(UserError, match=r"2 of 6 images cannot be read\. .*000002.* .*000003.*\n.*brs-detr check"):
        run_on(tiny_config, shapes, tmp_path / "strict")
    run, said = run_on(tiny_config, shapes, tmp_path / "lax", "train_cfg.max_unreadable=0.5")
    assert said.count("It is replaced by another image") == 2


@pytest.mark.fault(
    "Images and annotations", "the image folder is gone", "training stops after ten attempts, with a message"
)
def test_a_folder_that_is_gone_ends_it_at_once(lose, tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    lose(*(f"train/{path.name}" for path in (shapes / "train").iterdir()))
    with pytest.raises(UserError, match="10 images in a row cannot be read"):
        run_on(tiny_config, shapes, tmp_path / "run")


@pytest.mark.fault(
    "Interruptions",
    "Linux kills a data loader process for lack of memory",
    "training stops and says what to do; `--resume` continues",
)
def test_a_process_that_is_killed_while_it_loads(
    tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = os.getpid()

    def die(*arguments: Any) -> None:
        assert os.getpid() != parent
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(fileio, "get", die)
    with pytest.raises(UserError, match="A data loader process was killed"):
        run_on(tiny_config, shapes, tmp_path / "run", "train_dataloader.num_workers=1")
