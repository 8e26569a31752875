from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from brs_detr.cli import main
from brs_detr.runtime import Detector
from brs_detr.training.train import TrainedRun


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_export_then_predict(trained: TrainedRun, shapes: Path, tmp_path: Path) -> None:
    """A file that takes two images at a time, whatever was requested."""
    out = tmp_path / "deep" / "model.onnx"
    data = ["--data", shapes, "--split", "val"]
    result = invoke("export", trained.best_checkpoint, "--out", out, *data, "--static", "--batch", 2)
    assert result.exit_code == 0, result.output
    assert "Compared with the model on 8 images" in result.stdout
    assert "AP 0." in result.stdout
    assert f"Written to {out}" in result.stdout
    info = Detector(out, "cpu").info
    assert (info.preprocessing.inside, info.batch_size) == (True, 2)
    predicted = invoke("predict", out, shapes / "val", "--out", tmp_path / "found", "--threshold", 0, "--batch", 3)
    assert predicted.exit_code == 0, predicted.output
    by_artefact = json.loads((tmp_path / "found" / "predictions.json").read_text())["images"]
    invoke("predict", trained.best_checkpoint, shapes / "val", "--out", tmp_path / "trained", "--threshold", 0)
    by_model = json.loads((tmp_path / "trained" / "predictions.json").read_text())["images"]
    for one, other in zip(by_artefact, by_model, strict=True):
        assert one["objects"][0]["box_xyxy"] == pytest.approx(other["objects"][0]["box_xyxy"], abs=1e-3)
        assert len(one["objects"]) == len(other["objects"])


def test_it_goes_into_the_runs_folder(trained: TrainedRun, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / "best.pth"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(trained.best_checkpoint.read_bytes())
    call = ["export", tmp_path / "run", "--format", "torchscript", "--head", "atss"]
    assert invoke(*call).exit_code == 0
    written = tmp_path / "run" / "model_atss.ts"
    before = written.read_bytes()
    refused = invoke(*call)
    assert refused.exit_code == 2
    assert "exists already" in refused.stderr
    assert written.read_bytes() == before
    assert invoke(*call, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dynamic", "--batch", "2"], "option --dynamic was removed: it is the default"),
        (["--half"], "use --precision float16"),
        (["--format", "safetensors"], "brs-detr convert-checkpoint RUN OUT.safetensors"),
        (["--format", "torch-export", "--preprocess", "inside"], "torch-export cannot contain the preprocessing"),
        (["--precision", "bfloat16"], "onnx does not support bfloat16"),
        (["--head", "fcos"], "--head fcos"),
        (["--opset", "16"], "16 is not in the range"),
        (["--size", "big"], "is not a size such as"),
        (["--format", "tflite"], "'tflite' is not one of"),
        (["--data", "none"], "There is no dataset folder none"),
    ],
)
def test_refusals(trained: TrainedRun, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = invoke("export", trained.best_checkpoint, "--out", tmp_path / "m.onnx", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_other_classes_are_refused(trained: TrainedRun, shapes: Path, tmp_path: Path) -> None:
    dataset = json.loads((shapes / "annotations" / "val.json").read_text())
    dataset["categories"][0]["name"] = "blob"
    (tmp_path / "data" / "annotations").mkdir(parents=True)
    (tmp_path / "data" / "annotations" / "val.json").write_text(json.dumps(dataset))
    (tmp_path / "data" / "val").symlink_to(shapes / "val")
    result = invoke("export", trained.best_checkpoint, "--out", tmp_path / "m.onnx", "--data", tmp_path / "data")
    assert result.exit_code == 2, result.output
    assert "have different classes" in result.stderr
    assert not (tmp_path / "m.onnx").exists()
