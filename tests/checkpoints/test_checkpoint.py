from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from brs_detr.checkpoints.checkpoint import build_model, read_checkpoint
from brs_detr.errors import UserError
from brs_detr.training.train import TrainedRun

SHAPE_NAMES = ("circle", "square", "triangle", "star", "ring", "cross")


@pytest.mark.parametrize("name", ["best_checkpoint", "last_checkpoint"])
def test_checkpoint_holds_class_names_config_and_weights(trained: TrainedRun, name: str) -> None:
    content = read_checkpoint(getattr(trained, name))
    assert set(content.class_names) == set(SHAPE_NAMES)
    assert content.config.model.query_head.num_classes == 6
    assert content.meta["seed"] == 1
    model = build_model(content, "cpu")
    assert not model.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, content.state_dict[key])


def test_best_checkpoint_is_small_and_plain(trained: TrainedRun) -> None:
    content = torch.load(trained.best_checkpoint, weights_only=True)
    assert set(content) == {"meta", "state_dict"}
    assert trained.best_checkpoint.stat().st_size < 0.6 * trained.last_checkpoint.stat().st_size


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot open .*none.pth"):
        read_checkpoint(tmp_path / "none.pth")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken zip", b"\x80\x02."])
def test_file_that_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.pth"):
        read_checkpoint(tmp_path / "a.pth")


def test_cut_off_file(tmp_path: Path, trained: TrainedRun) -> None:
    whole = trained.best_checkpoint.read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.pth is damaged"):
        read_checkpoint(tmp_path / "cut.pth")


class Malicious:
    def __reduce__(self) -> tuple:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    "save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))]
)
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save) -> None:
    monkeypatch.chdir(tmp_path)
    save({"meta": {"dataset_meta": Malicious()}, "state_dict": {}}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match=r"evil\.pth is refused: to read it, code stored in it would have to run"):
        read_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": torch.zeros(1)}, "is not a checkpoint of this package"),
        ([1, 2], "is not a checkpoint of this package"),
        ({"meta": {}, "state_dict": {}}, "without class names or config"),
        ({"meta": {"dataset_meta": {"classes": ["a"]}}, "state_dict": {}}, "without class names or config"),
    ],
)
def test_checkpoint_of_another_kind(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_meta": "abc"}, "class names are not a list of text"),
        ({"dataset_meta": {"classes": "abc"}}, "class names are not a list of text"),
        ({"dataset_meta": {"classes": [1, 2]}}, "class names are not a list of text"),
        ({"cfg": 3}, "config is not text"),
        ({"cfg": ""}, "config has no model"),
        ({"cfg": "model = 'x'"}, "config has no model"),
        ({"cfg": "a = " + "-" * 100_000 + "1"}, "nested too deeply|cannot be read as plain data"),
        ({"metrics": "abc"}, "metrics are not numbers"),
        ({"metrics": {"coco/F1_threshold": "x"}}, "metrics are not numbers"),
        ({"metrics": {"coco/F1_threshold": float("nan")}}, "threshold is nan"),
        ({"metrics": {"coco/F1_threshold": 7}}, "threshold is 7"),
    ],
)
def test_entries_that_are_not_what_they_should_be(
    tmp_path: Path, trained: TrainedRun, changes: dict[str, object], message: str
) -> None:
    content = torch.load(trained.best_checkpoint, weights_only=True)
    torch.save({**content, "meta": {**content["meta"], **changes}}, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "odd.pth")


@pytest.mark.parametrize("state_dict", ["abc", [torch.zeros(1)], {"a": 3}])
def test_weights_that_are_no_tensors(tmp_path: Path, trained: TrainedRun, state_dict: object) -> None:
    content = torch.load(trained.best_checkpoint, weights_only=True)
    torch.save({**content, "state_dict": state_dict}, tmp_path / "odd.pth")
    with pytest.raises(UserError, match="weights are not tensors"):
        read_checkpoint(tmp_path / "odd.pth")


def test_weights_of_another_model(tmp_path: Path, trained: TrainedRun) -> None:
    content = torch.load(trained.best_checkpoint, weights_only=True)
    content["state_dict"].popitem()
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=r"weights in .*odd\.pth do not fit its config"):
        build_model(read_checkpoint(tmp_path / "odd.pth"), "cpu")


@pytest.mark.parametrize(("device", "message"), [("gpu9", "no device called 'gpu9'"), ("cuda:99", "no device cuda:99")])
def test_unknown_device(trained: TrainedRun, device: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model(read_checkpoint(trained.best_checkpoint), device)
