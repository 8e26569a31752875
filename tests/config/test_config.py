from __future__ import annotations

from pathlib import Path

import pytest

from brs_detr.config.config import configs_dir, find_config, list_configs, load_config
from brs_detr.config.folder_data import inner_dataset
from brs_detr.errors import UserError


def test_every_shipped_config_has_a_name_of_its_own_and_a_description() -> None:
    entries = list_configs()
    names = [entry.name for entry in entries]
    assert names == sorted(set(names))
    assert "brs-co-deformable-detr_r50_8xb2-12e_coco" in names
    assert all(len(entry.description) > 10 for entry in entries)
    assert not any("_base_" in entry.path.parts for entry in entries)


@pytest.mark.parametrize("name", [entry.name for entry in list_configs()])
def test_every_shipped_config_loads(name: str) -> None:
    config = load_config(name)
    is_detr = find_config(name).parent.name != "ranking_losses"
    assert (config.model.type in ("CoDETR", "AnyWidthDeformableDETR")) == is_detr
    dataset = inner_dataset(config, "train")
    assert dataset.type == "CocoFolderDataset"
    assert ("filter_cfg" in dataset) == name.endswith(("cityscapes", "lvis-v1"))  # elsewhere empty images stay


def test_schedules_are_those_of_the_paper() -> None:
    ranking = load_config("brs-co-deformable-detr_r50_8xb2-12e_coco")
    plain = load_config("co-deformable-detr_r50_8xb2-12e_coco")
    for config, milestones, gamma in ((ranking, [10, 11], 0.2), (plain, [11], 0.1)):
        assert config.train_cfg.max_epochs == 12
        assert config.train_dataloader.batch_size == 2
        assert [(step.milestones, step.gamma) for step in config.param_scheduler] == [(milestones, gamma)]
        assert config.optim_wrapper.optimizer == {"type": "AdamW", "lr": 2e-4, "weight_decay": 1e-4}
        assert config.optim_wrapper.clip_grad.max_norm == 0.1
        slow = {key: value.lr_mult for key, value in config.optim_wrapper.paramwise_cfg.custom_keys.items()}
        assert slow == {"backbone": 0.1, "sampling_offsets": 0.1, "reference_points": 0.1}


def test_variables_that_nothing_reads_are_left_out() -> None:
    config = load_config("brs-co-deformable-detr_r50_8xb2-12e_coco")
    assert not {"train_pipeline", "data_root", "short_sides", "_base_"} & set(config)


def test_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="'brs-co-deformable-detr_r50_8xb2-12e_coco'"):
        find_config("brs-co-deformable-detr_r5_8xb2-12e_coco")


def test_wrong_path_to_a_known_name_is_answered_with_the_name() -> None:
    with pytest.raises(UserError, match="Its name alone is enough: co-deformable-detr_r50_8xb2-12e_coco"):
        find_config("nowhere/co-deformable-detr_r50_8xb2-12e_coco.py")


def test_missing_file() -> None:
    with pytest.raises(UserError, match="no config file mine.py"):
        find_config("mine.py")


def test_file_that_is_not_python(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("model = dict(\n")
    with pytest.raises(UserError, match=r"broken.py is not valid Python.*line 1"):
        load_config(tmp_path / "broken.py")


def test_missing_base(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text("_base_ = './parent.py'\n")
    with pytest.raises(UserError, match=r"child.py needs a file.*parent.py"):
        load_config(tmp_path / "child.py")


def test_file_that_stops(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("model = dict(depth=dpeth)\n")
    with pytest.raises(UserError, match=r"broken.py stops with NameError.*dpeth"):
        load_config(tmp_path / "broken.py")


def test_description_falls_back_to_the_first_comment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brs_detr.config.config.configs_dir", lambda: tmp_path)
    (tmp_path / "plain.py").write_text("# A plain one.\nmodel = {}\n")
    assert [(entry.name, entry.description) for entry in list_configs()] == [("plain", "A plain one.")]


def test_base_from_mmdet(tmp_path: Path) -> None:
    (tmp_path / "retina.py").write_text("_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'\n")
    assert load_config(tmp_path / "retina.py", ["model.backbone.depth=18"]).model.backbone.depth == 18


def test_installed_package_brings_its_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brs_detr.__file__", str(tmp_path / "brs_detr" / "__init__.py"))
    assert configs_dir() == tmp_path / "configs"  # a checkout: beside the package
    (tmp_path / "brs_detr" / "configs").mkdir(parents=True)
    assert configs_dir() == tmp_path / "brs_detr" / "configs"
