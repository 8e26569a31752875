from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from planted_graphs import INFO, write_planted
from safetensors.torch import save_file

from brs_detr.checkpoints.checkpoint import read_checkpoint
from brs_detr.checkpoints.file_info import describe_file
from brs_detr.checkpoints.plain_file import write_safetensors
from brs_detr.cli import main
from brs_detr.errors import UserError
from brs_detr.training.train import TrainedRun


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


def test_a_run_and_its_checkpoints(trained: TrainedRun) -> None:
    run = describe_file(trained.work_dir)
    assert run.kind == "training run"
    assert (run.facts["status"], run.facts["seed"], run.facts["checkpoint"]) == ("finished", 1, "best.pth")
    for name in ("best.pth", "last.pth"):
        info = describe_file(trained.work_dir / "checkpoints" / name)
        assert info.kind == "checkpoint of this package"
        assert info.facts["config"] == "CoDETR, ResNet, ranking losses"
        assert info.facts["classes"][:2] == ["circle", "square"]
        weights = read_checkpoint(trained.best_checkpoint).state_dict
        assert info.facts["tensors"] == len(weights)
        assert info.facts["parameters"] == sum(tensor.numel() for tensor in weights.values())


def test_safetensors(trained: TrainedRun, tmp_path: Path) -> None:
    content = read_checkpoint(trained.best_checkpoint)
    write_safetensors(tmp_path / "m.safetensors", content.state_dict, content.meta)
    info = describe_file(tmp_path / "m.safetensors")
    assert info.kind == "checkpoint of this package (safetensors)"
    assert info.facts["parameters"] == describe_file(trained.best_checkpoint).facts["parameters"]
    save_file({"layer1.0.conv1.weight": torch.zeros(2, 3)}, tmp_path / "w.safetensors")
    assert describe_file(tmp_path / "w.safetensors").kind == "weights: ResNet, as torchvision or timm save it"


def test_exported(tmp_path: Path) -> None:
    info = describe_file(write_planted(tmp_path / "m.onnx"))
    assert info.kind == "exported detector (ONNX)"
    assert (info.facts["classes"], info.facts["preprocessing"]) == (["cat", "dog"], "inside")
    assert info.facts["inputs"] == ["images: tensor(uint8) ['batch', 'h', 'w', 3]"]
    assert describe_file(write_planted(tmp_path / "n.onnx", None)).kind == "ONNX model of another program"
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/extra/brs_detr", INFO.to_json())
    assert describe_file(tmp_path / "m.pt2").kind == "exported detector: exported program (torch.export)"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("layers.0.blocks.0.attn.qkv.weight", "Swin, as its authors release it"),
        ("stages.0.blocks.0.attn.w_msa.qkv.weight", "Swin, as mmdet saves it"),
        ("something.weight", "of an unknown model"),
    ],
)
def test_weights_of_others(tmp_path: Path, name: str, what: str) -> None:
    torch.save({"model": {name: torch.zeros(4)}}, tmp_path / "w.pth")
    assert describe_file(tmp_path / "w.pth").kind == f"weights: {what}"


def test_an_official_checkpoint(tmp_path: Path) -> None:
    names = ("query_head.transformer.decoder.layers.0.attentions.1.output_proj.weight", "backbone.conv1.weight")
    content = {"state_dict": {name: torch.zeros(2, 2) for name in names}, "meta": {"CLASSES": ("person", "car")}}
    torch.save(content, tmp_path / "official.pth")
    info = describe_file(tmp_path / "official.pth")
    assert info.kind == "official checkpoint of Co-DETR or BRS-DETR (mmdet 2)"
    assert info.facts["classes"] == ["person", "car"]


def test_what_a_pickle_would_run(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    torch.save({"state_dict": {"a": torch.zeros(2)}, "meta": Evil(touched)}, tmp_path / "evil.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Evil(touched)))
    for name in ("evil.pth", "bare.pth"):
        info = describe_file(tmp_path / name)
        assert info.kind == "pickle that would run code when it is read"
        assert info.facts["would_run"] == ["posix.system"]
    assert not touched.exists()


def test_hostile_descriptions(tmp_path: Path) -> None:
    for name, text in {"deep": "[" * 200_000, "list": "[]", "empty": "{}", "text": "abc"}.items():
        path = tmp_path / f"{name}.pt2"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m/archive_format", "pt2")
            archive.writestr("m/extra/brs_detr", text)
        with pytest.raises(UserError, match="holds no description that brs-detr can read"):
            describe_file(path)
    whole = bytearray((tmp_path / "text.pt2").read_bytes())
    whole[whole.find(b"abc")] ^= 1
    (tmp_path / "text.pt2").write_bytes(whole)
    with pytest.raises(UserError, match="is damaged inside"):
        describe_file(tmp_path / "text.pt2")


def test_an_official_checkpoint_of_one_class(tmp_path: Path) -> None:
    name = "query_head.transformer.decoder.layers.0.attentions.1.output_proj.weight"
    torch.save({"state_dict": {name: torch.zeros(2, 2)}, "meta": {"CLASSES": "person"}}, tmp_path / "official.pth")
    assert describe_file(tmp_path / "official.pth").facts["classes"] == ["person"]


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"images": [1], "categories": [], "annotations": []}))
    assert describe_file(tmp_path / "a.json").kind == "annotations in COCO format"
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    (tmp_path / "x.pth").write_text("<!DOCTYPE html><html>")
    (tmp_path / "y.pth").write_bytes(b"")
    (tmp_path / "z.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "b.json").write_text("{}")
    (tmp_path / "c.json").write_text("[" * 200_000)
    for name, message in (
        ("x.npz", "arrays of NumPy"),
        ("x.pth", "a web page"),
        ("y.pth", "empty"),
        ("z.pth", "git-lfs"),
        ("b.json", "neither annotations nor results"),
        ("c.json", "is not JSON"),
        ("none.pth", "No such file"),
    ):
        with pytest.raises(UserError, match=message):
            describe_file(tmp_path / name)


def test_command(trained: TrainedRun, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["info", str(trained.best_checkpoint)])
    assert result.exit_code == 0, result.output
    assert "checkpoint of this package" in result.stdout
    result = CliRunner().invoke(main, ["info", str(trained.work_dir), "--json"])
    assert json.loads(result.stdout)["facts"]["seed"] == 1
    result = CliRunner().invoke(main, ["info", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_nothing_in_an_onnx_file_is_computed(tmp_path: Path) -> None:
    """A file of 200 bytes can define a constant of a terabyte, which loading it for inference would compute."""
    size = numpy_helper.from_array(np.array([2**40], np.int64), "size")
    node = helper.make_node("ConstantOfShape", ["size"], ["y"])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [], [output], [size])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    assert describe_file(tmp_path / "m.onnx").kind == "ONNX model of another program"
