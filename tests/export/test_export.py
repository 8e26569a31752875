from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from brs_detr.engine.checkpoints.checkpoint import Checkpoint, read_checkpoint
from brs_detr.engine.detector import Detector as TrainedDetector
from brs_detr.engine.training.train import TrainedRun
from brs_detr.errors import UserError
from brs_detr.export import export as module
from brs_detr.export.export import Exported, ExportOptions, artefact_name, export
from brs_detr.export.held_out import HeldOut
from brs_detr.export.open_detector import open_detector
from brs_detr.export.open_session import open_session
from brs_detr.export.parity_images import synthetic_pictures
from brs_detr.runtime import Detector

PICTURES = synthetic_pictures(((64, 64), (90, 60), (47, 131)))

CASES = [
    ExportOptions("onnx", "query", preprocess=True),
    ExportOptions("onnx", "roi", fixed_size=(80, 96), batch_size=1),
    ExportOptions("torchscript", "atss", postprocess=False),
    ExportOptions("onnx", "atss", fixed_size=(80, 96), batch_size=2, precision="float16", opset=19),
    ExportOptions("torch-export", "atss", fixed_size=(80, 96), batch_size=1),
    ExportOptions("torchscript", "roi"),
]
SLOW_CASES = [
    ExportOptions("onnx", "roi", preprocess=True),
    ExportOptions("torch-export", "atss"),
]


@pytest.fixture(scope="module")
def checkpoint(trained: TrainedRun) -> Checkpoint:
    return read_checkpoint(trained.best_checkpoint)


@pytest.fixture(scope="module")
def export_once(
    checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[ExportOptions], Exported]:
    """Exports what was not exported before: it takes half a minute."""

    @cache
    def exported(options: ExportOptions) -> Exported:
        out = tmp_path_factory.mktemp("exported") / artefact_name(options)
        return export(checkpoint, out, options, PICTURES)

    return exported


@pytest.fixture(
    params=[*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES)], ids=artefact_name
)
def exported(request: pytest.FixtureRequest, export_once) -> tuple[ExportOptions, Exported]:
    return request.param, export_once(request.param)


def test_the_artefact_finds_what_the_model_finds(exported) -> None:
    options, result = exported
    figures = result.info.parity
    assert result.path.is_file()
    assert [path for path in result.path.parent.iterdir() if path != result.path] == []
    assert figures["pictures"] == 3
    assert figures["detections"] > 0
    assert figures["unmatched"] == 0 or options.precision == "float16"
    if options.precision == "float32":
        assert figures["max_box_error_px"] <= 1e-3
        assert figures["max_score_error"] <= 1e-5


def test_a_detector_on_it_is_the_training_sides(exported, trained: TrainedRun, shapes: Path) -> None:
    options, result = exported
    if options.fixed_size or result.info.preprocessing.smallest_side > 64:
        return  # the training side does not pad
    trained_detector = TrainedDetector(trained.best_checkpoint, "cpu", 0.0)
    trained_detector.model.eval_head = options.head
    detector = open_detector(result.path, "cpu", 0.0)
    assert detector.class_names == trained_detector.class_names
    assert open_detector(result.path, "cpu").score_threshold == pytest.approx(result.info.score_threshold)
    for path in sorted((shapes / "val").glob("*.jpg")):
        expected, found = trained_detector(path), detector(path)
        assert len(found) == len(expected)
        np.testing.assert_allclose(np.sort(found.scores), np.sort(expected.scores), atol=1e-5)
        np.testing.assert_allclose(found.boxes_xyxy[:3], expected.boxes_xyxy[:3], atol=1e-3)


def test_the_description_is_in_the_file(exported) -> None:
    options, result = exported
    stored = open_session(result.path)[1].info
    assert dataclasses.asdict(stored) == dataclasses.asdict(result.info)
    assert stored.head == options.head
    assert stored.source == "best.pth"
    assert {"brs_detr", "torch"} <= set(stored.versions)


def test_onnx_has_standard_operators_and_names(exported) -> None:
    options, result = exported
    if options.format != "onnx":
        return
    model = onnx.load(result.path)
    assert {entry.domain for entry in model.opset_import} == {""}
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert model.opset_import[0].version == options.opset
    inputs = ["images"] if options.preprocess else ["images", "image_sizes"]
    assert [value.name for value in model.graph.input] == inputs
    assert [value.name for value in model.graph.output] == ["boxes", "scores", "labels"]
    dims = [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    if options.fixed_size:
        assert dims == [options.batch_size, 3, 80, 96]
    else:
        assert dims == (["batch", "height", "width", 3] if options.preprocess else ["batch", 3, "height", "width"])


def test_a_checkpoint_without_a_pickle(checkpoint: Checkpoint, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    result = export(checkpoint, out, ExportOptions("safetensors", "atss"), PICTURES)
    assert result.info.parity["matched"] == result.info.parity["detections"] > 0
    assert result.info.parity["max_score_error"] == 0
    detector = open_detector(out, "cpu", 0.0)
    expected = TrainedDetector(checkpoint.path, "cpu", 0.0)
    assert detector.score_threshold == 0
    assert read_checkpoint(out).score_threshold == checkpoint.score_threshold
    picture = shapes / "val" / "000001.jpg"
    np.testing.assert_array_equal(detector(picture).boxes_xyxy, expected(picture).boxes_xyxy)
    assert list(tmp_path.iterdir()) == [out]


def test_ap_is_compared(checkpoint: Checkpoint, shapes: Path, tmp_path: Path, console) -> None:
    held_out = HeldOut.open(shapes, "val", checkpoint.class_names, console)
    options = ExportOptions("torchscript", "query")
    result = export(
        checkpoint, tmp_path / "m.ts", options, held_out.pictures(), measure_ap=held_out.measure_ap, console=console
    )
    figures = result.info.parity
    assert figures["AP_artefact"] == pytest.approx(figures["AP_model"], abs=1e-4)
    assert figures["pictures"] == 4


WEIGHTS = (
    "backbone.conv1.weight",
    "encoder.layers.0.ffn.layers.1.bias",
    "reg_branches.1.4.bias",
    "cls_branches.1.bias",
)


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.fault(
    "Files from elsewhere", "an exported file with one wrong weight", "caught by the comparison; no file is left"
)
def test_one_changed_weight_is_caught(
    checkpoint: Checkpoint, export_once, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """And no file is left, nor is one that was there replaced."""

    def write_damaged(model, info, path: Path, chosen, opset) -> None:
        artefact = onnx.load(export_once(CASES[0]).path)
        weight = next(entry for entry in artefact.graph.initializer if name in entry.name)
        values = numpy_helper.to_array(weight).copy()
        values.flat[values.size // 2] += 0.1
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        onnx.save(artefact, path)

    export_once(CASES[0])
    monkeypatch.setattr(module, "write", write_damaged)
    out = tmp_path / "m.onnx"
    out.write_text("what was there before")
    with pytest.raises(UserError, match="does not find what the model finds, and was deleted") as caught:
        export(checkpoint, out, CASES[0], PICTURES[:1])
    assert "have no partner within 0.001 px and a score of 1e-05" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert out.read_text() == "what was there before"


def test_another_ap_is_caught(checkpoint: Checkpoint, tmp_path: Path) -> None:
    measured = iter([0.5, 0.4998])
    with pytest.raises(UserError, match=r"AP is 0\.49980 where the model has 0\.50000"):
        export(
            checkpoint,
            tmp_path / "m.ts",
            ExportOptions("torchscript"),
            PICTURES,
            measure_ap=lambda detector: next(measured),
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ExportOptions("torch-export", preprocess=True), "Preprocessing cannot be part of torch-export"),
        (ExportOptions("onnx", precision="bfloat16"), "onnx cannot hold bfloat16"),
        (ExportOptions("safetensors", precision="float16"), "holds all weights as they are"),
        (ExportOptions("onnx", opset=17), "Opset 17 cannot be written"),
        (ExportOptions("onnx", "fcos"), "fcos"),
    ],
)
def test_impossible_options(checkpoint: Checkpoint, tmp_path: Path, options: ExportOptions, message: str) -> None:
    with pytest.raises(UserError, match=message):
        export(checkpoint, tmp_path / "m", options, PICTURES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (
            [dict(type="LoadImage"), dict(type="Resize", scale=(64, 64), keep_ratio=False)],
            "without keeping their shape",
        ),
        ([dict(type="LoadImage"), dict(type="Pad", size=(64, 64))], "Pad"),
    ],
)
def test_pipelines_that_cannot_be_repeated(checkpoint: Checkpoint, tmp_path: Path, pipeline, message: str) -> None:
    config = checkpoint.config.copy()
    config.test_dataloader.dataset.pipeline = pipeline
    with pytest.raises(UserError, match=message):
        export(dataclasses.replace(checkpoint, config=config), tmp_path / "m.ts", ExportOptions(), PICTURES)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["query", "roi", "atss"])
def test_compiled_ahead_of_time(checkpoint: Checkpoint, tmp_path: Path, head: str) -> None:
    result = export(checkpoint, tmp_path / "m.aoti.pt2", ExportOptions("aoti", head), PICTURES)
    assert result.info.parity["unmatched"] == 0
    assert len(Detector.of(open_session(result.path)[1], 0.0)(PICTURES[0].pixels)) > 0
