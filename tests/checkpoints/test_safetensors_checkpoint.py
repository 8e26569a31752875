from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from brs_detr.checkpoints.checkpoint import read_checkpoint
from brs_detr.checkpoints.file_info import describe_file
from brs_detr.checkpoints.plain_file import METADATA_KEY, write_safetensors
from brs_detr.checkpoints.weights_file import read_weights
from brs_detr.errors import UserError
from brs_detr.evaluation.evaluate import evaluate
from brs_detr.training.train import TrainedRun


@pytest.fixture
def written(trained: TrainedRun, tmp_path: Path) -> Path:
    content = read_checkpoint(trained.best_checkpoint)
    write_safetensors(tmp_path / "m.safetensors", content.state_dict, content.meta)
    return tmp_path / "m.safetensors"


def test_everything_is_there(trained: TrainedRun, written: Path, shapes: Path) -> None:
    first, second = read_checkpoint(trained.best_checkpoint), read_checkpoint(written)
    assert first.class_names == second.class_names
    assert first.thresholds() == second.thresholds()
    assert first.config.model == second.config.model
    assert first.state_dict.keys() == second.state_dict.keys()
    assert all(torch.equal(first.state_dict[name], second.state_dict[name]) for name in first.state_dict)
    results = [evaluate(path, shapes, "val", device="cpu").metrics for path in (trained.best_checkpoint, written)]
    assert results[0] == results[1]
    assert [path.name for path in written.parent.iterdir()] == [written.name]
    for name in ("epoch", "seed", "brs_detr_version"):
        assert first.meta[name] == second.meta[name]


def test_a_fine_tuning_learns_the_class_names(trained: TrainedRun, written: Path) -> None:
    weights = read_weights(str(written))
    assert weights.class_names == read_checkpoint(trained.best_checkpoint).class_names
    assert weights.start == "detector"


TENSOR = '"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (f"{{{TENSOR}, {TENSOR}}}", "names 'a' twice"),
        (f"{{{TENSOR.replace('F32', 'F99')}}}", "damaged or not a safetensors file"),
        (f"{{{TENSOR.replace('[1]', '[9999999999, 9999999999]')}}}", "damaged or not a safetensors file"),
        (f"{{{TENSOR}, {TENSOR.replace('a', 'b', 1)}}}", "damaged or not a safetensors file"),
        ('{"a":', "damaged or not a safetensors file"),
        ('{"a":' + "[" * 200_000, "damaged or not a safetensors file"),
        ('{"a": "' + "x" * 2**24 + '"}', "its header would have"),
    ],
    ids=["twice", "dtype", "shape", "overlap", "cut", "deep", "huge"],
)
def test_hostile_headers(tmp_path: Path, header: str, message: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(4))
    for read in (read_checkpoint, read_weights, describe_file):
        with pytest.raises(UserError, match=message):
            read(path if read is not read_weights else str(path))


def test_one_tensor_under_two_names(trained: TrainedRun, tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    meta = read_checkpoint(trained.best_checkpoint).meta
    write_safetensors(tmp_path / "m.safetensors", {"a": shared, "b": shared[:2]}, meta)
    state = read_checkpoint(tmp_path / "m.safetensors").state_dict
    assert state["a"].tolist() == [0, 1, 2, 3]
    assert state["b"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "metadata",
    [
        "no json",
        "[]",
        "{}",
        json.dumps({"format_version": 2, "class_names": [], "config": "", "metrics": {}, "versions": {}}),
        "[" * 200_000,
        json.dumps({"format_version": 1, "class_names": ["a"], "config": "", "metrics": {}, "versions": "abc"}),
        json.dumps({"format_version": 1, "class_names": "abc", "config": "", "metrics": {}, "versions": {}}),
        json.dumps({"format_version": 1, "class_names": [1], "config": "", "metrics": {}, "versions": {}}),
        json.dumps({"format_version": 1, "class_names": ["a"], "config": 3, "metrics": {}, "versions": {}}),
        json.dumps({"format_version": 1, "class_names": ["a"], "config": "", "metrics": {"AP": "x"}, "versions": {}}),
    ],
)
def test_wrong_descriptions(tmp_path: Path, metadata: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "m.safetensors", {METADATA_KEY: metadata})
    with pytest.raises(UserError, match="damaged or not a safetensors file"):
        read_checkpoint(tmp_path / "m.safetensors")


def test_files_that_are_something_else(written: Path, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "weights.safetensors")
    whole = written.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "lfs.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "page.safetensors").write_text("<!DOCTYPE html><html>")
    (tmp_path / "long.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    for name, message in (
        ("weights", "weights without class names or config"),
        ("cut", "damaged or not a safetensors file"),
        ("text", "damaged or not a safetensors file"),
        ("lfs", "git-lfs pointer"),
        ("page", "a web page"),
        ("long", "damaged or not a safetensors file"),
        ("none", "Cannot open"),
    ):
        with pytest.raises(UserError, match=message):
            read_checkpoint(tmp_path / f"{name}.safetensors")
