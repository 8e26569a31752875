from __future__ import annotations

import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine import ConfigDict
from safetensors.torch import save_file

from brs_detr.checkpoints.weights_file import choose_weights, fetch_weights, no_weights, read_weights
from brs_detr.config.config import load_config
from brs_detr.errors import UserError
from brs_detr.training.train import TrainedRun

TENSORS = {"conv1.weight": torch.ones(2, 3), "fc.bias": torch.zeros(4)}


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of PyTorch, without a network."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)
    monkeypatch.setattr("brs_detr.checkpoints.download.PAUSES", ())
    return tmp_path / "hub" / "checkpoints"


def saved(content: object, path: Path) -> str:
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize("wrap", [dict, lambda x: {"state_dict": x}, lambda x: {"model": x, "epoch": 3}])
def test_state_dicts_of_all_kinds(wrap, tmp_path: Path) -> None:
    weights = read_weights(saved(wrap(TENSORS), tmp_path / "w.pth"))
    assert set(weights.state_dict) == set(TENSORS)
    assert (weights.start, weights.class_names) == ("backbone", ())


def test_wrapper_for_several_processes_is_taken_off(tmp_path: Path) -> None:
    wrapped = {f"module.{name}": value for name, value in TENSORS.items()}
    assert set(read_weights(saved(wrapped, tmp_path / "w.pth")).state_dict) == set(TENSORS)


def test_safetensors(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors")
    assert torch.equal(read_weights(str(tmp_path / "w.safetensors")).state_dict["fc.bias"], TENSORS["fc.bias"])


def test_run_of_ours(trained: TrainedRun) -> None:
    weights = read_weights(str(trained.work_dir))
    assert weights.start == "detector"
    assert weights.class_names == ("circle", "square", "triangle", "star", "ring", "cross")


def test_class_names_of_older_checkpoints_and_wrapped_classifiers(tmp_path: Path) -> None:
    content = {"meta": {"CLASSES": ("a", "b")}, "state_dict": {"backbone.x": torch.ones(1), "head.fc.y": torch.ones(1)}}
    weights = read_weights(saved(content, tmp_path / "w.pth"))
    assert (weights.start, weights.class_names) == ("backbone", ("a", "b"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.pth", "There is no file nowhere.pth"),
        ("folder/w.bin", "There is no file folder/w.bin"),
        ("resnet51", "There are no weights called resnet51"),
        ("ftp://resnet50", "There are no weights called ftp://resnet50"),
    ],
)
def test_no_such_weights(source: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_weights(source)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"no", "damaged or not a safetensors file"),
        ("w.pth", b"no", "damaged or not a checkpoint"),
    ],
)
def test_damaged_file(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_weights(str(tmp_path / name))


def test_file_without_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="contains no weights"):
        read_weights(saved({"epoch": 3}, tmp_path / "w.pth"))


@pytest.mark.parametrize("source", ["resnet50", "torchvision://resnet50", "https://nowhere.example/w.pth"])
def test_without_network(source: str, no_network: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be downloaded: .*no network") as error:
        read_weights(source)
    assert f"Tried {no_network}" in str(error.value)
    assert "--weights FILE" in str(error.value) and "--weights none" in str(error.value)


def test_a_name_of_the_checkpoint_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "co-deformable-detr_r50_8xb2-12e_coco_official"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = tmp_path / "brs-detr" / "checkpoints" / "co-detr_r50_official.pth"
    cached.parent.mkdir(parents=True)
    saved({"state_dict": TENSORS, "meta": {"CLASSES": ("a", "b")}}, cached)
    weights = read_weights(name)
    assert (set(weights.state_dict), weights.class_names) == (set(TENSORS), ("a", "b"))
    cached.write_bytes(b"something else")
    with pytest.raises(UserError, match="is not the expected file"):
        read_weights(name)


def test_file_in_the_cache_is_not_fetched(no_network: Path) -> None:
    no_network.mkdir(parents=True)
    saved(TENSORS, no_network / "w.pth")
    assert read_weights("https://nowhere.example/w.pth").start == "backbone"


def test_names_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: SimpleNamespace(state_dict=lambda: TENSORS))
    assert set(read_weights("timm://resnet18.a1_in1k").state_dict) == set(TENSORS)

    def fail(name: str, pretrained: bool) -> None:
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(UserError, match=r"timm cannot download the weights resnet18\.a1_in1k: no network"):
        read_weights("timm://resnet18.a1_in1k")


def test_weights_of_the_config_are_read_once(tmp_path: Path) -> None:
    config = load_config("brs-co-deformable-detr_r50_finetune")
    config.model.backbone.init_cfg.checkpoint = saved(TENSORS, tmp_path / "w.pth")
    starting = choose_weights(config, None)
    assert (starting.start, starting.source) == ("backbone", str(tmp_path / "w.pth"))
    assert config.model.backbone.init_cfg is None


def test_weights_that_are_asked_for_go_before_those_of_the_config(tmp_path: Path) -> None:
    config = load_config("brs-co-deformable-detr_r50_finetune")
    assert choose_weights(config, "none").start == "nothing"
    config.load_from = "nowhere.pth"
    assert choose_weights(config, saved(TENSORS, tmp_path / "w.pth")).weights is not None
    assert config.load_from is None


def test_timm_backbone_brings_its_own() -> None:
    config = load_config("brs-co-deformable-detr_r18_1xb4-12e_coco")
    config.model.backbone = ConfigDict(type="TimmBackbone", model_name="resnet18", pretrained=True, weights_file=None)
    starting = choose_weights(config, None)
    assert (starting.weights, starting.start, starting.source) == (None, "backbone", "timm's resnet18")
    assert config.model.backbone.pretrained
    assert no_weights(config, "backbone", "x").start == "backbone"
    assert not config.model.backbone.pretrained


def test_train_fetches_before_anything_else(no_network: Path) -> None:
    config = load_config("co-deformable-detr_r50_8xb2-12e_coco")
    with pytest.raises(UserError, match=r"cannot be downloaded") as error:
        fetch_weights(config)
    assert "--set model.backbone.init_cfg=None" in str(error.value)
    config.model.backbone.init_cfg.checkpoint = "nowhere.pth"
    with pytest.raises(UserError, match=r"no file nowhere\.pth, which the config names"):
        fetch_weights(config)
    config.model.backbone.init_cfg.checkpoint = "https://nowhere.example/w.pth"
    saved(TENSORS, no_network / "w.pth")
    fetch_weights(config)
