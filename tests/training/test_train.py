from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from scalars import read_scalars

from brs_detr.data.annotations import read_class_names
from brs_detr.data.synthetic.shapes import make_shapes
from brs_detr.errors import UserError
from brs_detr.training.train import TrainedRun, train

QUIET = Console(quiet=True)


def losses(run: TrainedRun) -> list[float]:
    return [record["loss"] for record in read_scalars(run.work_dir / "vis_data" / "scalars.json").train]


def copy_of(run: TrainedRun, folder: Path) -> Path:
    return Path(shutil.copytree(run.work_dir, folder / "copy"))


def test_run_folder_explains_itself(trained: TrainedRun, shapes: Path, tiny_config: Path) -> None:
    names = {path.name for path in trained.work_dir.iterdir()}
    assert names == {"checkpoints", "config.py", "metrics.csv", "predictions.json", "run.json", "train.log", "vis_data"}
    record = json.loads((trained.work_dir / "run.json").read_text())
    assert (record["config"], record["data"], record["seed"]) == (str(tiny_config), str(shapes), 1)
    history = read_scalars(trained.work_dir / "vis_data" / "scalars.json")
    assert len(history.train) == 6
    assert [record["step"] for record in history.val] == [1, 2]
    assert "coco/AP" in history.val[0]


def test_class_names_reach_checkpoint_and_model(trained: TrainedRun, shapes: Path) -> None:
    content = torch.load(trained.best_checkpoint, weights_only=True)
    assert content["meta"]["dataset_meta"]["classes"] == read_class_names(shapes / "annotations" / "train.json")
    assert content["state_dict"]["atss_head.atss_cls.weight"].shape[0] == 6


def test_same_seed_same_losses(trained: TrainedRun, tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    again = train(tiny_config, shapes, tmp_path / "again", seed=1, epochs=2, console=QUIET)
    assert losses(again) == losses(trained)
    assert len(set(losses(again))) > 1
    first, second = (torch.load(run.last_checkpoint, weights_only=True)["state_dict"] for run in (trained, again))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_drawn_seed_is_printed_stored_and_repeats_the_run(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    console = Console(file=(text := io.StringIO()), width=200)
    run = train(tiny_config, shapes, tmp_path / "drawn", epochs=1, console=console)
    assert f"Seed {run.seed}." in text.getvalue()
    assert torch.load(run.best_checkpoint, weights_only=True)["meta"]["seed"] == run.seed
    assert json.loads((run.work_dir / "run.json").read_text())["seed"] == run.seed
    again = train(tiny_config, shapes, tmp_path / "again", seed=run.seed, epochs=1, console=QUIET)
    assert losses(again) == losses(run)


def test_resume_goes_on_where_the_run_stopped(
    trained: TrainedRun, tiny_config: Path, shapes: Path, tmp_path: Path
) -> None:
    work_dir = copy_of(trained, tmp_path)
    console = Console(file=(text := io.StringIO()), width=200)
    run = train(tiny_config, shapes, work_dir, resume=True, epochs=3, console=console)
    assert "Resuming after epoch 2" in text.getvalue()
    assert run.seed == trained.seed
    assert run.best_ap >= trained.best_ap
    meta = torch.load(run.last_checkpoint, weights_only=True)["meta"]
    assert (meta["epoch"], meta["iter"]) == (3, 9)
    assert losses(run)[:6] == losses(trained)
    assert len(losses(run)) == 9


@pytest.mark.fault("Checkpoints", "a second training with the folder of a run", "refused; no file is changed")
def test_existing_run_is_not_touched(trained: TrainedRun, tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    work_dir = copy_of(trained, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in work_dir.rglob("*")}
    with pytest.raises(UserError, match=r"already holds a training run\.\n.*--resume"):
        train(tiny_config, shapes, work_dir, console=QUIET)
    assert {path: path.stat().st_mtime_ns for path in work_dir.rglob("*")} == before


@pytest.mark.fault("Checkpoints", "`--resume` without a run", "refused; nothing is written")
def test_nothing_to_resume(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing to resume: no last\.pth"):
        train(tiny_config, shapes, tmp_path / "new", resume=True, console=QUIET)
    assert not (tmp_path / "new").exists()


def test_bfloat16_trains_on_the_cpu(tiny_config: Path, tmp_path: Path) -> None:
    # Not 64 pixels: for a map of one pixel, PyTorch's bfloat16 convolution with stride 2 does not write the gradient.
    make_shapes(tmp_path / "data", 4, 2, (96, 96))
    runs = [
        train(tiny_config, tmp_path / "data", tmp_path / f"amp{amp}", amp=amp, seed=1, epochs=1, console=QUIET)
        for amp in (False, True)
    ]
    full, half = map(losses, runs)
    assert np.isfinite(half).all()
    assert half != full
    assert half[0] == pytest.approx(full[0], rel=0.05)
    run = runs[1]
    weights = torch.load(run.best_checkpoint, weights_only=True)["state_dict"]
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}


def test_console_shows_progress_and_no_log(
    tiny_config: Path, shapes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(tiny_config, shapes, tmp_path / "run", seed=1, epochs=1, console=Console(width=200))
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("Seed 1. Writing to")
    assert lines[-2].startswith("epoch 1/1  iteration 3/3  loss ")
    assert re.search(r"  lr \d\.\de-\d\d  \d+\.\d images/s  \d+\.\d GiB  ETA 0:00:00$", lines[-2])
    assert lines[-1].startswith("epoch 1/1  AP 0.")
    assert len(lines) <= 5
    assert err == ""
    assert "epoch(train)" in (tmp_path / "run" / "train.log").read_text().lower()


def save_data(folder: Path, sizes: list[tuple[int, int]], boxes: list[tuple[int, list[float], int]]) -> Path:
    """A dataset with equal train and val splits; a box is (image, x y w h, crowd)."""
    images = []
    for number, (height, width) in enumerate(sizes, start=1):
        images.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
        for split in ("train", "val"):
            (folder / split).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (width, height), (90, 120, 60)).save(folder / split / f"{number}.png")
    annotations = [
        {"id": number, "image_id": image, "category_id": 5, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
        for number, (image, box, crowd) in enumerate(boxes, start=1)
    ]
    (folder / "annotations").mkdir()
    for split in ("train", "val"):
        content = {"images": images, "annotations": annotations, "categories": [{"id": 5, "name": "thing"}]}
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("config_name", ["tiny_config", "tiny_plain_config"])
@pytest.mark.fault(
    "Images and annotations",
    "images without objects, or with crowds only",
    "used for training; nothing hangs, nothing is NaN",
)
def test_images_without_objects_are_kept_and_trained_on(
    config_name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    boxes = [(1, [8.0, 8.0, 30.0, 20.0], 0), (2, [4.0, 4.0, 40.0, 40.0], 1)]
    data = save_data(tmp_path / "data", [(64, 64)] * 4, boxes)  # a box, a crowd only, nothing, nothing
    config = request.getfixturevalue(config_name)
    run = train(
        config, data, tmp_path / "run", seed=0, epochs=1, overrides=["train_dataloader.batch_size=1"], console=QUIET
    )
    assert len(losses(run)) == 4
    assert np.isfinite(losses(run)).all()


def test_dropped_boxes_are_counted(tiny_config: Path, tmp_path: Path) -> None:
    data = save_data(tmp_path / "data", [(64, 64)] * 2, [(1, [8.0, 8.0, 30.0, 20.0], 0), (2, [4.0, 4.0, 0.0, 9.0], 0)])
    console = Console(file=(text := io.StringIO()), width=300)
    train(tiny_config, data, tmp_path / "run", epochs=1, console=console)
    assert "zero-area box: 1 (annotation 2" in text.getvalue()


def test_broken_data_leave_nothing_behind(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    broken = sorted((data / "train").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(UserError, match=f"unreadable image: 1 .*{broken.name}"):
        train(tiny_config, data, tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


@pytest.mark.fault("Files from elsewhere", "a config whose model cannot be built", "one message; no folder is left")
def test_model_that_cannot_be_built_leaves_nothing_behind(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"type that does not exist: ResNett\.\n  Did you mean 'ResNet'"):
        train(tiny_config, shapes, tmp_path / "run", overrides=["model.backbone.type=ResNett"], console=QUIET)
    assert not (tmp_path / "run").exists()


def test_without_data_the_config_says_which(tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"data/coco/annotations/instances_train2017\.json, which does not exist.\n.*--data"
    ):
        train(tiny_config, console=QUIET)
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_loading_process_is_told_wherever_it_is_noticed(
    tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's signal handler may interrupt code that turns any error into one of its own."""
    from co_detr.codetr import CoDETR

    def interrupted(*_: object) -> None:
        try:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        except RuntimeError as error:
            raise TypeError("unsupported callable") from error

    monkeypatch.setattr(CoDETR, "extract_feat", interrupted)
    with pytest.raises(UserError, match="A data loader process was killed"):
        train(tiny_config, shapes, tmp_path / "run", epochs=1, console=QUIET)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
