from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from calibrated_checkpoints import CLASSES, LINES, RAW_THRESHOLD, STEPS, THRESHOLDS, calibration, write_calibrated

from brs_detr.checkpoints.checkpoint import build_model, read_checkpoint
from brs_detr.checkpoints.file_info import describe_file
from brs_detr.checkpoints.plain_file import write_safetensors
from brs_detr.checkpoints.weights_file import read_weights
from brs_detr.errors import UserError
from brs_detr.predict.detector import Detector
from brs_detr.runtime.detections import Detections


@pytest.fixture(scope="module")
def image_file(shapes: Path) -> Path:
    return shapes / "val" / "000001.jpg"


@pytest.fixture
def calibrated(tiny_config: Path, tmp_path: Path) -> Path:
    return write_calibrated(tiny_config, tmp_path / "best.pth", calibrations={"query": calibration(LINES)})


def by_class(found: Detections) -> tuple[np.ndarray, ...]:
    order = np.argsort(found.labels, kind="stable")
    return found.labels[order], found.scores[order], found.boxes_xyxy[order]


@pytest.mark.parametrize("score_map", [LINES, STEPS], ids=["lines", "steps"])
@pytest.mark.parametrize("head", ["query", "roi", "atss"])
@pytest.mark.parametrize("kind", ["ranking", "score-based"])
def test_scores_are_mapped_and_nothing_else_changes(
    kind: str, head: str, score_map, tiny_config: Path, tiny_plain_config: Path, image_file: Path, tmp_path: Path
) -> None:
    config = tiny_config if kind == "ranking" else tiny_plain_config
    path = write_calibrated(config, tmp_path / "best.pth", head, {head: calibration(score_map)})
    labels, raw_scores, boxes = by_class(Detector(path, "cpu", 0.0, raw_scores=True)(image_file))
    found = Detector(path, "cpu", 0.0)(image_file)
    assert (np.diff(found.scores) <= 0).all()
    mapped = by_class(found)
    assert len(labels) >= 20 and len(np.unique(labels)) == 3
    np.testing.assert_array_equal(mapped[0], labels)
    np.testing.assert_allclose(mapped[1], score_map(raw_scores, labels), rtol=0, atol=1e-5)
    np.testing.assert_allclose(mapped[2], boxes, atol=1e-3)


def test_raw_scores_are_those_of_the_training_to_the_last_bit(
    calibrated: Path, tiny_config: Path, image_file: Path, tmp_path: Path
) -> None:
    plain = Detector(write_calibrated(tiny_config, tmp_path / "plain.pth"), "cpu")
    raw = Detector(calibrated, "cpu", raw_scores=True)
    assert not plain.calibrated and not raw.calibrated and Detector(calibrated, "cpu").calibrated
    assert plain.score_threshold == raw.score_threshold == RAW_THRESHOLD
    for one, other in zip(by_class(plain(image_file)), by_class(raw(image_file)), strict=True):
        np.testing.assert_array_equal(one, other)
    weights = read_weights(str(calibrated)).state_dict  # the weights that training starts from
    model = build_model(read_checkpoint(calibrated), "cpu", raw_scores=True)
    assert all(torch.equal(weights[name], weight) for name, weight in model.state_dict().items())


def test_thresholds_of_each_class(calibrated: Path, image_file: Path) -> None:
    everything = Detector(calibrated, "cpu", 0.0)(image_file)
    detector = Detector(calibrated, "cpu")
    assert detector.score_threshold == THRESHOLDS
    found = detector(image_file)
    kept = everything.scores >= np.array(THRESHOLDS)[everything.labels]
    assert 0 < len(found) == kept.sum() < len(everything)
    np.testing.assert_array_equal(found.scores, everything.scores[kept])
    assert Detector(calibrated, "cpu", {"star": 0.9}).score_threshold == (0.2, 0.4, 0.9)
    with pytest.raises(UserError, match="no class 'sta'"):
        Detector(calibrated, "cpu", {"sta": 0.9})


def test_only_the_head_that_was_measured_is_calibrated(tiny_config: Path, tmp_path: Path) -> None:
    path = write_calibrated(tiny_config, tmp_path / "best.pth", "roi", {"query": calibration(LINES, 0.5)})
    detector = Detector(path, "cpu")
    assert (detector.calibrated, detector.score_threshold) == (False, RAW_THRESHOLD)
    assert read_checkpoint(path).thresholds("query") == 0.5


def test_safetensors_carry_it(calibrated: Path, image_file: Path, tmp_path: Path) -> None:
    content = read_checkpoint(calibrated)
    path = tmp_path / "m.safetensors"
    write_safetensors(path, content.state_dict, content.meta)
    assert read_checkpoint(path).calibration() == content.calibration()
    expected = Detector(calibrated, "cpu")(image_file)
    np.testing.assert_array_equal(Detector(path, "cpu")(image_file).scores, expected.scores)
    facts = describe_file(path).facts
    assert facts["calibrations"] == describe_file(calibrated).facts["calibrations"]
    assert facts["raw_score_threshold"] == RAW_THRESHOLD


def test_info_says_what_scores_mean(calibrated: Path, tiny_config: Path, tmp_path: Path) -> None:
    assert describe_file(calibrated).facts["calibrations"] == {
        "query": {
            "kind": "Platt",
            "images": 12,
            "score_threshold": dict(zip(CLASSES, THRESHOLDS, strict=True)),
            "chosen_for": "best F1 of each class",
        }
    }
    plain = describe_file(write_calibrated(tiny_config, tmp_path / "plain.pth")).facts
    assert "calibrations" not in plain and plain["score_threshold"] == RAW_THRESHOLD


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "damaged",
    [
        [],
        {"query": None},
        {"query": {**calibration(LINES).to_json(), "thresholds": [0.5]}},
        {"query": {}},
    ],
    ids=["list", "none", "thresholds", "empty"],
)
@pytest.mark.fault("Files from elsewhere", "a checkpoint with a damaged calibration", "refused, with the reason")
def test_a_damaged_calibration_is_refused(suffix: str, damaged, calibrated: Path, tmp_path: Path) -> None:
    content = torch.load(calibrated, weights_only=True)
    content["meta"]["calibrations"] = damaged
    path = tmp_path / f"damaged{suffix}"
    if suffix == ".pth":
        torch.save(content, path)
    else:
        write_safetensors(path, content["state_dict"], content["meta"])
    for read in (read_checkpoint, describe_file):
        with pytest.raises(UserError, match="calibrations is invalid|not a dictionary by head"):
            read(path)
