from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from rich.console import Console
from tiny_models import enliven

from brs_detr.checkpoints.checkpoint import Checkpoint, build_model, read_checkpoint
from brs_detr.errors import UserError
from brs_detr.exporting import export as module
from brs_detr.exporting.comparison_images import DataSet, small_images, synthetic_images
from brs_detr.exporting.export import Exported, export_checkpoint
from brs_detr.exporting.formats import ExportOptions, artefact_name
from brs_detr.exporting.parity import Parity, require_parity
from brs_detr.exporting.sessions import StagedSession, TorchSession, open_session
from brs_detr.predict.detector import Detector as TrainedDetector
from brs_detr.runtime import Detector
from brs_detr.runtime.images import read_pixels
from brs_detr.runtime.processing import prepare
from brs_detr.runtime.session import OnnxSession
from brs_detr.training.train import TrainedRun

IMAGES = synthetic_images(((64, 64), (90, 60), (47, 131)))

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


def judge(written, session: StagedSession) -> Parity:
    """Compare a session with the model of a written file."""
    subject, console = written.subject, Console(quiet=True)
    return require_parity(subject.model, subject.exact, session, IMAGES, batches=(1,), console=console)


@pytest.fixture(scope="module")
def checkpoint(trained: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The checkpoint of the run with random weights, since many trained ones have no effect after two epochs."""
    content = read_checkpoint(trained.best_checkpoint)
    path = tmp_path_factory.mktemp("lively") / "best.pth"
    torch.save({"state_dict": enliven(build_model(content, "cpu")).state_dict(), "meta": content.meta}, path)
    return read_checkpoint(path)


@pytest.fixture(scope="module")
def export_once(
    checkpoint: Checkpoint, write_once, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[ExportOptions], Exported]:
    """Export each file once."""

    @cache
    def exported(options: ExportOptions) -> Exported:
        out = tmp_path_factory.mktemp("exported") / artefact_name(options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "write", lambda subject, path: shutil.copy(write_once(options).path, path))
            return export_checkpoint(checkpoint, out, options, IMAGES)

    return exported


@pytest.fixture(
    params=[*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES)], ids=artefact_name
)
def exported(request: pytest.FixtureRequest, export_once) -> tuple[ExportOptions, Exported]:
    return request.param, export_once(request.param)


def test_every_stage_is_that_of_the_model(exported) -> None:
    options, result = exported
    figures = result.info.parity
    assert result.path.is_file()
    assert [path for path in result.path.parent.iterdir() if path != result.path] == []
    assert figures["pictures"] == 3 + len(small_images(result.info.preprocessing))
    assert figures["stages"] >= 7
    assert figures["choices"] >= 2 * figures["pictures"]
    assert 0 < figures["largest_share_of_bound"] <= 1
    assert figures["matched"] + figures["unmatched"] > 0
    assert set(result.parity.shares()) >= {"boxes", "scores", "labels"}
    assert ("prepared" in result.parity.shares()) == options.preprocess


def test_a_detector_on_it_sees_and_says_what_the_training_side_does(
    exported, trained: TrainedRun, shapes: Path
) -> None:
    """Its images equal those of the test pipeline to the last bit, and boxes are in pixels of the image file."""
    _, result = exported
    session = open_session(result.path)[1]
    if session.info.preprocessing.fixed_size is not None:
        return  # the training side does not pad
    trained_detector = TrainedDetector(trained.best_checkpoint, "cpu", 0.0)
    detector = TrainedDetector(result.path, "cpu", 0.0)
    assert detector.class_names == trained_detector.class_names
    assert TrainedDetector(result.path, "cpu").score_threshold == pytest.approx(result.info.score_threshold)
    seen: list[np.ndarray] = []
    trained_detector.model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy()))
    settings = dataclasses.replace(session.info.preprocessing, smallest_side=1)
    for path in sorted((shapes / "val").glob("*.jpg")):
        trained_detector(path)
        np.testing.assert_allclose(prepare([read_pixels(path)], settings).images, seen.pop(), atol=1e-6)
        found = detector(path)
        assert len(found) <= 100
        assert found.boxes_xyxy.min(initial=0) >= 0
        assert found.boxes_xyxy.max(initial=0) <= 64 + 1e-3


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


def test_ap_is_measured(checkpoint: Checkpoint, shapes: Path, tmp_path: Path, console) -> None:
    data_set = DataSet.open(shapes, "val", checkpoint.class_names, console)
    options = ExportOptions("torchscript", "query")
    result = export_checkpoint(
        checkpoint, tmp_path / "m.ts", options, data_set.images(), measure_ap=data_set.measure_ap, console=console
    )
    figures = result.info.parity
    assert 0 <= figures["AP_artefact"] <= 1
    assert 0 <= figures["AP_model"] <= 1
    assert figures["pictures"] == 4 + len(small_images(result.info.preprocessing))


ONNX_QUERY, ONNX_ROI, SCRIPT_ATSS = CASES[0], CASES[1], CASES[2]

WEIGHTS = {
    ONNX_QUERY: (
        *("backbone.conv1.weight", "backbone.layer3.1.bn1.weight", "neck.convs.0.conv.weight"),
        *("encoder.layers.0.ffn.layers.1.bias", "encoder.layers.0.norms.1.weight"),
        *("encoder.layers.0.norms.0.weight", "decoder.layers.0.norms.2.weight", "decoder.layers.1.ffn.layers.1.bias"),
        *("cls_branches.1.bias", "reg_branches.0.4.bias"),
    ),
    ONNX_ROI: (
        *("backbone.layer2.0.downsample.0.weight", "backbone.layer3.0.downsample.1.running_var"),
        *("neck.convs.1.conv.weight", "encoder.layers.0.norms.1.weight", "encoder.layers.0.self_attn.output_proj.bias"),
        *("rpn_head.rpn_conv.weight", "rpn_head.rpn_cls.bias", "rpn_head.rpn_reg.weight"),
        *("bbox_head.shared_fcs.1.weight", "bbox_head.fc_reg.bias"),
    ),
    SCRIPT_ATSS: (
        *("backbone.layer1.0.conv1.weight", "backbone.layer2.0.bn2.running_var", "backbone.layer4.1.bn1.weight"),
        *("neck.convs.2.gn.weight", "encoder.layers.0.self_attn.value_proj.weight"),
        *("encoder.layers.0.ffn.layers.0.0.weight", "encoder.downsample.1.weight"),
        *("atss_head.cls_convs.0.conv.weight", "atss_head.atss_cls.bias", "atss_head.scales.1.scale"),
    ),
}
"""Ten tensors in each of three files."""


def change_largest(values: np.ndarray) -> np.ndarray:
    """Increase the largest value by 1 %."""
    changed = values.copy()
    place = np.abs(changed).argmax()
    changed.flat[place] *= np.float32(1.01)
    assert changed.flat[place] != values.flat[place]
    return changed


def damaged_onnx(path: Path, name: str, out: Path, change=change_largest) -> OnnxSession:
    """Open a copy in which one constant is changed."""
    artefact = onnx.load(path)
    constants = [(node.output[0], node.attribute[0].t) for node in artefact.graph.node if node.op_type == "Constant"]
    constants += [(entry.name, entry) for entry in artefact.graph.initializer]
    (weight,) = [tensor for constant, tensor in constants if constant.endswith(name)]
    weight.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weight)), weight.name))
    onnx.save(artefact, out)
    return OnnxSession(out, "cpu", 1)


def damaged_script(written, name: str) -> TorchSession:
    session = TorchSession(written.path, info=written.subject.info)
    ((_, weight),) = [entry for entry in session._program.state_dict().items() if entry[0].endswith(name)]
    weight.copy_(torch.from_numpy(change_largest(weight.numpy().reshape(-1)).reshape(weight.shape)))
    return session


REFUSAL = "The artefact does not compute what the model computes, and was deleted"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        pytest.param(options, name, id=f"{options.format}-{name}")
        for options, names in WEIGHTS.items()
        for name in names
    ],
)
def test_one_weight_that_is_off_by_one_percent_is_caught(write_once, tmp_path: Path, options, name: str) -> None:
    written = write_once(options)
    is_onnx = options.format == "onnx"
    session = damaged_onnx(written.path, name, tmp_path / "m.onnx") if is_onnx else damaged_script(written, name)
    with pytest.raises(UserError, match=REFUSAL):
        judge(written, session)


def test_one_anchor_that_is_off_by_one_percent_is_caught(write_once, tmp_path: Path) -> None:
    """The best anchor of the finest level, whose box is within the image."""
    written = write_once(ONNX_ROI)
    intact = OnnxSession(written.path, "cpu", 1)
    prepared = prepare([IMAGES[0].pixels], intact.info.preprocessing)
    place = int(intact.run_all(prepared.images, prepared.image_sizes)["anchors"][0, 0])
    anchors = [entry for entry in onnx.load(written.path).graph.initializer if list(entry.dims) == [1080, 4]]

    def change(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[place] *= np.float32(1.01)
        return values

    with pytest.raises(UserError, match="anchor_boxes on 64 x 64"):
        judge(written, damaged_onnx(written.path, anchors[0].name, tmp_path / "m.onnx", change))


def test_a_threshold_of_suppression_that_is_off_is_caught(write_once, tmp_path: Path) -> None:
    written = write_once(ONNX_ROI)
    of_proposals, *_ = (node for node in onnx.load(written.path).graph.node if node.op_type == "NonMaxSuppression")
    with pytest.raises(UserError, match="proposals on 64 x 64"):
        judge(written, damaged_onnx(written.path, of_proposals.input[3], tmp_path / "m.onnx"))


def test_a_normalisation_that_is_off_by_one_percent_is_caught(write_once, tmp_path: Path) -> None:
    written = write_once(ONNX_QUERY)
    with pytest.raises(UserError, match="prepared on 64 x 64"):
        judge(written, damaged_onnx(written.path, "std", tmp_path / "m.onnx"))


@pytest.mark.fault(
    "Files from elsewhere", "an exported file with one wrong weight", "found by the comparison; no file is left"
)
def test_a_wrong_file_is_not_kept(
    checkpoint: Checkpoint, write_once, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An existing file is not replaced."""
    written = write_once(ONNX_QUERY)
    monkeypatch.setattr(module, "write", lambda _, path: damaged_onnx(written.path, "cls_branches.1.bias", path))
    out = tmp_path / "m.onnx"
    out.write_text("what was there before")
    with pytest.raises(UserError, match=REFUSAL) as caught:
        export_checkpoint(checkpoint, out, ONNX_QUERY, IMAGES[:1])
    assert "decoder_logits on 64 x 64, batch of 1: " in str(caught.value)
    assert "from exact arithmetic, where " in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert out.read_text() == "what was there before"


def test_another_ap_is_told(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """AP rejects nothing, because on few images a single tie changes it by more than any bound."""
    measured = iter([0.5, 0.48])
    options = ExportOptions("torchscript", "atss")
    result = export_checkpoint(
        checkpoint, tmp_path / "m.ts", options, IMAGES[:1], measure_ap=lambda detector: next(measured)
    )
    assert (result.info.parity["AP_model"], result.info.parity["AP_artefact"]) == (0.5, 0.48)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ExportOptions("torch-export", preprocess=True), "torch-export cannot contain the preprocessing"),
        (ExportOptions("onnx", precision="bfloat16"), "onnx does not support bfloat16"),
        (ExportOptions("onnx", opset=17), "Opset 17 is not supported"),
        (ExportOptions("onnx", "fcos"), "fcos"),
    ],
)
def test_impossible_options(checkpoint: Checkpoint, tmp_path: Path, options: ExportOptions, message: str) -> None:
    with pytest.raises(UserError, match=message):
        export_checkpoint(checkpoint, tmp_path / "m", options, IMAGES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (
            [dict(type="LoadImage"), dict(type="Resize", scale=(64, 64), keep_ratio=False)],
            "without keeping their aspect ratio",
        ),
        ([dict(type="LoadImage"), dict(type="Pad", size=(64, 64))], "Pad"),
    ],
)
def test_pipelines_that_cannot_be_repeated(checkpoint: Checkpoint, tmp_path: Path, pipeline, message: str) -> None:
    config = checkpoint.config.copy()
    config.test_dataloader.dataset.pipeline = pipeline
    with pytest.raises(UserError, match=message):
        export_checkpoint(dataclasses.replace(checkpoint, config=config), tmp_path / "m.ts", ExportOptions(), IMAGES)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["query", "roi", "atss"])
def test_compiled_ahead_of_time(checkpoint: Checkpoint, tmp_path: Path, head: str) -> None:
    result = export_checkpoint(checkpoint, tmp_path / "m.aoti.pt2", ExportOptions("aoti", head), IMAGES)
    assert result.info.parity["largest_share_of_bound"] <= 1
    assert len(Detector.of(open_session(result.path)[1], 0.0)(IMAGES[0].pixels)) > 0
