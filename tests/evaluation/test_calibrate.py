from __future__ import annotations

import json
from pathlib import Path

import official_models
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from brs_detr.analysis.curves import Goal
from brs_detr.checkpoints.checkpoint import build_model, read_checkpoint
from brs_detr.checkpoints.convert_checkpoint import convert_checkpoint
from brs_detr.cli import main
from brs_detr.errors import UserError
from brs_detr.evaluation.calibrate import calibrate
from brs_detr.evaluation.evaluate import evaluate
from brs_detr.predict.detector import Detector
from brs_detr.training.train import TrainedRun

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
QUIET = Console(quiet=True)


@pytest.fixture
def uncalibrated(trained: TrainedRun, tmp_path: Path) -> Path:
    """As earlier versions wrote them."""
    content = torch.load(trained.best_checkpoint, weights_only=True)
    content["meta"].pop("calibrations", None)
    torch.save(content, tmp_path / "old.pth")
    return tmp_path / "old.pth"


@pytest.fixture(scope="session")
def own_objects(trained: TrainedRun, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose objects are detections, of which more are taken with higher scores."""
    return plant_objects(trained.best_checkpoint, shapes, tmp_path_factory.mktemp("data") / "own")


def plant_objects(checkpoint: Path, data: Path, folder: Path) -> Path:
    (folder / "annotations").mkdir(parents=True)
    (folder / "val").symlink_to(data / "val")
    dataset = json.loads((data / "annotations" / "val.json").read_text())
    found = evaluate(checkpoint, data, "val", device="cpu", console=QUIET).predictions
    ranked = [
        sorted((e for e in found if e["image_id"] == image["id"]), key=lambda e: -e["score"])
        for image in dataset["images"]
    ]
    chosen = [entry for of_image in ranked for place, entry in enumerate(of_image) if place in (0, 1, 2, 4, 8, 15)]
    objects = [
        {**entry, "id": number, "area": entry["bbox"][2] * entry["bbox"][3], "iscrowd": 0}
        for number, entry in enumerate(chosen, start=1)
    ]
    (folder / "annotations" / "val.json").write_text(json.dumps({**dataset, "annotations": objects}))
    return folder


def test_a_score_is_the_share_that_is_right(uncalibrated: Path, own_objects: Path) -> None:
    result = calibrate(uncalibrated, own_objects, device="cpu", console=QUIET)
    assert result.path == uncalibrated and result.calibration.num_images == 4
    checkpoint = read_checkpoint(uncalibrated)
    assert checkpoint.thresholds() == 0.5
    assert checkpoint.thresholds(raw_scores=True) == checkpoint.meta["metrics"]["coco/F1_threshold"]
    found = evaluate(checkpoint, own_objects, "val", raw_scores=False, device="cpu", console=QUIET)
    assert found.matching.scores.mean() == pytest.approx(found.matching.is_true.mean(), abs=0.05)


@pytest.mark.parametrize("name", ["brs", "codetr"])
def test_an_official_checkpoint_needs_nothing_but_images(name: str, shapes: Path, tmp_path: Path) -> None:
    source, config = official_models.save_official(GOLDEN, name, tmp_path)
    converted = tmp_path / "converted.safetensors"
    convert_checkpoint(source, converted, config=config)
    dataset = json.loads((shapes / "annotations" / "val.json").read_text())
    dataset["categories"] = [{"id": place, "name": word} for place, word in enumerate("abcde", start=1)]
    dataset["annotations"] = [{**entry, "category_id": 1} for entry in dataset["annotations"]]
    pictures = tmp_path / "pictures"
    (pictures / "annotations").mkdir(parents=True)
    (pictures / "val").symlink_to(shapes / "val")
    (pictures / "annotations" / "val.json").write_text(json.dumps(dataset))
    data = plant_objects(converted, pictures, tmp_path / "own")
    before = read_checkpoint(converted)
    arguments = ["calibrate", str(converted), "--data", str(data), "--split", "val", "--device", "cpu"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    after = read_checkpoint(converted)
    assert all(value.equal(after.state_dict[key]) for key, value in before.state_dict.items())
    raw, mapped = (
        evaluate(after, data, "val", raw_scores=raw_scores, device="cpu", console=QUIET) for raw_scores in (True, False)
    )
    assert mapped.matching.scores.mean() == pytest.approx(mapped.matching.is_true.mean(), abs=0.05)
    assert abs(raw.matching.scores.mean() - raw.matching.is_true.mean()) > 0.05


def test_weights_and_ap_stay(uncalibrated: Path, own_objects: Path) -> None:
    before = torch.load(uncalibrated, weights_only=True)
    expected = evaluate(uncalibrated, own_objects, device="cpu", console=QUIET).metrics
    calibrate(uncalibrated, own_objects, device="cpu", console=QUIET)
    after = torch.load(uncalibrated, weights_only=True)
    assert all(value.equal(after["state_dict"][name]) for name, value in before["state_dict"].items())
    assert {key: value for key, value in after["meta"].items() if key != "calibrations"} == before["meta"]
    raw = evaluate(uncalibrated, own_objects, device="cpu", console=QUIET).metrics
    mapped = evaluate(uncalibrated, own_objects, device="cpu", raw_scores=False, console=QUIET).metrics
    assert raw == expected and raw["AP"] > 0.2
    assert mapped["F1_threshold"] != raw["F1_threshold"]


def test_every_head_has_its_own(uncalibrated: Path, own_objects: Path) -> None:
    calibrate(uncalibrated, own_objects, head="query", device="cpu", console=QUIET)
    checkpoint = read_checkpoint(uncalibrated)
    assert checkpoint.calibration() is not None and checkpoint.calibration("atss") is None
    raw, mapped = (
        evaluate(checkpoint, own_objects, "val", head="atss", raw_scores=raw_scores, device="cpu", console=QUIET)
        for raw_scores in (True, False)
    )
    assert raw.predictions == mapped.predictions


def test_thresholds_for_a_goal(uncalibrated: Path, own_objects: Path) -> None:
    result = calibrate(uncalibrated, own_objects, goal=Goal("recall", 0.5), device="cpu", console=QUIET)
    assert result.thresholds is not None
    checkpoint = read_checkpoint(uncalibrated)
    assert checkpoint.thresholds() == result.thresholds.thresholds
    assert checkpoint.calibration().goal == "recall 0.5"  # type: ignore[union-attr]
    assert Detector(uncalibrated, "cpu").score_threshold == result.thresholds.thresholds


def test_what_is_more_than_a_detector_is_not_written_over(
    trained: TrainedRun, own_objects: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"needed to resume a training: it holds .*optimizer"):
        calibrate(trained.last_checkpoint, device="cpu", console=QUIET)
    out = tmp_path / "calibrated.pth"
    calibrate(trained.last_checkpoint, own_objects, out=out, device="cpu", console=QUIET)
    assert set(torch.load(out, weights_only=True)) == {"meta", "state_dict"}
    with pytest.raises(UserError, match="already exists"):
        calibrate(trained.last_checkpoint, out=out, device="cpu", console=QUIET)
    with pytest.raises(UserError, match=r"neither in \.pth nor"):
        calibrate(trained.last_checkpoint, out=tmp_path / "a.onnx", device="cpu", console=QUIET)


def test_images_on_which_nothing_is_right_teach_nothing(uncalibrated: Path, own_objects: Path, tmp_path: Path) -> None:
    dataset = json.loads((own_objects / "annotations" / "val.json").read_text())
    speck = {**dataset["annotations"][0], "bbox": [0, 0, 1, 1], "area": 1}
    (tmp_path / "specks" / "annotations").mkdir(parents=True)
    (tmp_path / "specks" / "val").symlink_to(own_objects / "val")
    specks = tmp_path / "specks" / "annotations" / "val.json"
    specks.write_text(json.dumps({**dataset, "annotations": [speck]}))
    before = uncalibrated.read_bytes()
    with pytest.raises(UserError, match="No detection of .* on .* is right"):
        calibrate(uncalibrated, tmp_path / "specks", device="cpu", console=QUIET)
    assert uncalibrated.read_bytes() == before


def test_of_several_processes_one_writes(
    uncalibrated: Path, own_objects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = uncalibrated.read_bytes()
    monkeypatch.setenv("RANK", "1")
    calibrate(uncalibrated, own_objects, device="cpu", console=QUIET)
    assert uncalibrated.read_bytes() == before


def test_command(uncalibrated: Path, own_objects: Path) -> None:
    arguments = ["calibrate", str(uncalibrated), "--data", str(own_objects), "--best-f1", "--device", "cpu"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "Fitted to 4 images" in result.output and "circle" in result.output
    result = CliRunner().invoke(main, [*arguments, "--recall", "0.9"])
    assert result.exit_code == 2 and "Choose one of them" in result.output


def test_a_damaged_calibration_is_refused(uncalibrated: Path) -> None:
    content = torch.load(uncalibrated, weights_only=True)
    content["meta"]["calibrations"] = {"query": {"score_map": 1}}
    torch.save(content, uncalibrated)
    with pytest.raises(UserError, match="calibrations is invalid"):
        build_model(read_checkpoint(uncalibrated), "cpu")
