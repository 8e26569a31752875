"""An exported file gives the same scores as its calibrated checkpoint, whatever is left to the runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from calibrated_checkpoints import CLASSES, LINES, RAW_THRESHOLD, STEPS, THRESHOLDS, calibration, write_calibrated
from planted_graphs import info, write_planted
from rich.console import Console

from brs_detr.checkpoints.checkpoint import read_checkpoint
from brs_detr.checkpoints.file_info import describe_file
from brs_detr.errors import UserError
from brs_detr.exporting.comparison_images import synthetic_images
from brs_detr.exporting.export import Subject, export_checkpoint, write
from brs_detr.exporting.formats import ExportOptions, artefact_name
from brs_detr.exporting.parity import Tolerance, compare, require_parity
from brs_detr.exporting.sessions import TorchSession
from brs_detr.predict.detector import Detector as TrainedDetector
from brs_detr.runtime.score_map import ScoreMap

IMAGES = synthetic_images(((64, 64),))
SAME = Tolerance(box=0.01, score=1e-5)
SIZE = (64, 64)


class Case(NamedTuple):
    """A checkpoint and its export; `maps_detections` if no layer can contain the score map."""

    kind: str
    score_map: ScoreMap
    maps_detections: bool
    options: ExportOptions


CASES = [
    Case("ranking", LINES, False, ExportOptions("torchscript", "query")),
    Case("ranking", STEPS, False, ExportOptions("onnx", "query", preprocess=True, fixed_size=SIZE, batch_size=1)),
    Case("ranking", STEPS, False, ExportOptions("torchscript", "roi", postprocess=False)),
    Case("ranking", LINES, False, ExportOptions("torchscript", "atss")),
    Case("score-based", LINES, True, ExportOptions("onnx", "roi", fixed_size=SIZE, batch_size=1)),
    Case("score-based", STEPS, True, ExportOptions("torchscript", "roi", postprocess=False)),
    Case("score-based", STEPS, True, ExportOptions("torchscript", "atss")),
    Case("score-based", LINES, True, ExportOptions("onnx", "atss", postprocess=False, fixed_size=SIZE, batch_size=1)),
    Case("score-based", STEPS, True, ExportOptions("torch-export", "atss", fixed_size=SIZE, batch_size=1)),
]


def name_of(case: Case) -> str:
    score_map = "lines" if case.score_map is LINES else "steps"
    return f"{case.kind}-{score_map}-{'inside' if case.options.postprocess else 'beside'}-{artefact_name(case.options)}"


Checkpoints = Callable[..., Path]


@pytest.fixture(scope="module")
def checkpoint_of(tiny_config: Path, tiny_plain_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    def written(kind: str, head: str, score_map: ScoreMap) -> Path:
        config = tiny_config if kind == "ranking" else tiny_plain_config
        path = tmp_path_factory.mktemp("checkpoint") / "best.pth"
        return write_calibrated(config, path, head, {head: calibration(score_map)})

    return written


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_the_same_scores_from_the_file(case: Case, checkpoint_of: Checkpoints, shapes: Path, tmp_path: Path) -> None:
    path = checkpoint_of(case.kind, case.options.head, case.score_map)
    result = export_checkpoint(read_checkpoint(path), tmp_path / artefact_name(case.options), case.options, IMAGES)
    trained, detector = TrainedDetector(path, "cpu"), TrainedDetector(result.path, "cpu")
    assert detector.calibrated and result.info.calibrated
    assert detector.score_threshold == trained.score_threshold == THRESHOLDS
    is_beside = case.maps_detections and not case.options.postprocess
    assert result.info.postprocessing.score_map == (case.score_map if is_beside else None)
    image_file = shapes / "val" / "000001.jpg"
    for threshold in (THRESHOLDS, 0.0):
        trained.score_threshold = detector.score_threshold = threshold
        expected, found = trained(image_file), detector(image_file)
        agreement = compare(expected, found, SAME)
        assert agreement.num_matched == agreement.num_detections and agreement.num_unmatched == 0
        assert (np.diff(found.scores) <= 0).all()
    assert len(found) > 10
    facts = describe_file(result.path).facts
    assert facts["calibrated"] is True
    assert facts["score_threshold"] == dict(zip(CLASSES, THRESHOLDS, strict=True))


def test_raw_scores_are_exported_on_demand(checkpoint_of: Checkpoints, shapes: Path, tmp_path: Path) -> None:
    path = checkpoint_of("score-based", "atss", LINES)
    options = ExportOptions("torchscript", "atss", raw_scores=True)
    result = export_checkpoint(read_checkpoint(path), tmp_path / artefact_name(options), options, IMAGES)
    assert result.path.name == "model_atss_raw.ts"
    detector = TrainedDetector(result.path, "cpu", raw_scores=True)
    assert (detector.calibrated, detector.score_threshold) == (False, RAW_THRESHOLD)
    image_file = shapes / "val" / "000001.jpg"
    detector.score_threshold = 0.0
    agreement = compare(TrainedDetector(path, "cpu", 0.0, raw_scores=True)(image_file), detector(image_file), SAME)
    assert agreement.num_matched > 3 and agreement.num_unmatched == 0


@pytest.fixture(scope="module")
def script(checkpoint_of: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Path]:
    """A file that maps scores of detections, before the gate."""
    options = ExportOptions("torchscript", "atss")
    subject = Subject.of(read_checkpoint(checkpoint_of("score-based", "atss", STEPS)), options)
    path = tmp_path_factory.mktemp("script") / "m.ts"
    write(subject, path)
    return subject, path


@pytest.mark.parametrize("name", ["starts", "knots", "lengths", "slopes"])
def test_a_map_that_is_off_by_one_percent_is_caught(script: tuple[Subject, Path], name: str) -> None:
    subject, path = script
    session = TorchSession(path, info=subject.info)
    (part,) = [part for part in session._program.named_buffers() if part[0].endswith(f"score_map.map.{name}")]
    part[1].mul_(1.01)
    with pytest.raises(UserError, match="scores on 64 x 64"):
        require_parity(subject.model, subject.exact, session, IMAGES, batches=(1,), console=Console(quiet=True))


def test_a_file_with_probabilities_has_no_raw_scores(tmp_path: Path) -> None:
    write_planted(tmp_path / "m.onnx", info(calibrated=True))
    with pytest.raises(UserError, match="has no raw scores") as caught:
        TrainedDetector(tmp_path / "m.onnx", "cpu", raw_scores=True)
    assert "--raw-scores" in str(caught.value.hint)
    write_planted(tmp_path / "raw.onnx")
    assert len(TrainedDetector(tmp_path / "raw.onnx", "cpu", raw_scores=True)(np.zeros((30, 40, 3), np.uint8))) == 2
