from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from brs_detr.config.config import load_config
from brs_detr.config.folder_data import choose_split, set_num_classes, split_of, use_config_data, use_folder
from brs_detr.data.annotations import read_class_names
from brs_detr.errors import UserError

QUIET = Console(quiet=True)


def test_folder_takes_the_place_of_the_data_in_the_config(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    config = load_config(tiny_config)
    pipeline = config.train_dataloader.dataset.pipeline
    use_folder(config, shapes, tmp_path / "placed", QUIET)
    assert split_of(config, "train").annotation_file == shapes / "annotations" / "train.json"
    for phase in ("val", "test"):
        assert split_of(config, phase).annotation_file == shapes / "annotations" / "val.json"
        assert split_of(config, phase).image_dir == shapes / "val"
        assert config[f"{phase}_evaluator"].ann_file == str(shapes / "annotations" / "val.json")
    assert config.train_dataloader.dataset.pipeline == pipeline
    heads = (config.model.query_head, config.model.roi_head.bbox_head, config.model.atss_head)
    assert [head.num_classes for head in heads] == [6, 6, 6]


def test_config_with_a_wrapped_data_set(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    config = load_config(tiny_config)
    config.train_dataloader.dataset = {"type": "RepeatDataset", "times": 2, "dataset": config.train_dataloader.dataset}
    use_folder(config, shapes, tmp_path / "placed", QUIET)
    assert config.train_dataloader.dataset.type == "RepeatDataset"
    assert split_of(config, "train").image_dir == shapes / "train"


def test_folder_without_training_data(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    (data / "annotations" / "train.json").unlink()
    with pytest.raises(UserError, match="has no train split, only val"):
        use_folder(load_config(tiny_config), data, tmp_path / "placed", QUIET)


def test_splits_with_different_classes(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    content = json.loads((data / "annotations" / "val.json").read_text())
    content["categories"].append({"id": 77, "name": "moon"})
    (data / "annotations" / "val.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="moon"):
        use_folder(load_config(tiny_config), data, tmp_path / "placed", QUIET)


def test_splits_that_had_to_be_made_are_told(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    (data / "annotations" / "val.json").unlink()
    console = Console(file=(text := io.StringIO()), width=200)
    config = load_config(tiny_config)
    use_folder(config, data, tmp_path / "placed", console)
    assert "val: made" in text.getvalue()
    assert split_of(config, "val").annotation_file == tmp_path / "placed" / "val.json"
    assert split_of(config, "val").image_dir == data / "train"
    files = {name: json.loads((tmp_path / "placed" / f"{name}.json").read_text()) for name in ("train", "val")}
    names = [{image["file_name"] for image in file["images"]} for file in files.values()]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 6


def test_own_data_of_a_config(tiny_config: Path, shapes: Path) -> None:
    config = load_config(tiny_config)
    config.train_dataloader.dataset.update(
        data_root=str(shapes), ann_file="annotations/train.json", data_prefix={"img": "train/"}
    )
    use_config_data(config)
    assert split_of(config, "train").image_dir == shapes / "train"
    assert config.model.atss_head.num_classes == 6
    use_config_data(config, read_class_names(shapes / "annotations" / "train.json"))
    with pytest.raises(UserError, match="classes of the run; new: cross; missing: moon"):
        use_config_data(config, ["circle", "square", "triangle", "star", "ring", "moon"])
    config.train_dataloader.dataset.metainfo = {"classes": ("square", "circle")}
    with pytest.raises(UserError, match="in another order: square, circle, where the run has circle, square"):
        use_config_data(config, ["circle", "square"])


def test_choose_split_takes_the_first_that_exists() -> None:
    splits = {"train": "a", "test": "b"}
    assert choose_split(splits, ["val", "test"], "data") == "b"  # type: ignore[arg-type]


def test_num_classes_is_set_at_any_depth() -> None:
    model = {"num_classes": 80, "heads": [{"num_classes": 80}, ({"x": {"num_classes": 80}},)], "names": "num_classes"}
    set_num_classes(model, 3)
    assert model == {
        "num_classes": 3,
        "heads": [{"num_classes": 3}, ({"x": {"num_classes": 3}},)],
        "names": "num_classes",
    }
