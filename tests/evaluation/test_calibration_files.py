from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tiny_runs import calibrate_file, with_other_category_ids

from brs_detr.analysis.coco_ap import lvis_ap
from brs_detr.checkpoints.checkpoint import Checkpoint, read_checkpoint
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.evaluation.calibrate import measure_calibration, scored_detections, write_calibration
from brs_detr.evaluation.evaluate import Evaluation, evaluate
from brs_detr.training.train import TrainedRun

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def checkpoint(trained: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = Path(shutil.copy(trained.best_checkpoint, tmp_path_factory.mktemp("calibrated")))
    names = read_checkpoint(path).class_names
    calibrate_file(path, thresholds=tuple(float(score) for score in np.linspace(0.2, 0.7, len(names))))
    return read_checkpoint(path)


def test_calibrated_scores_are_those_that_the_model_gives(checkpoint: Checkpoint, shapes: Path) -> None:
    raw = evaluate(checkpoint, shapes, "val", device="cpu", console=QUIET)
    measured = measure_calibration(raw, checkpoint)
    mapped = evaluate(checkpoint, shapes, "val", raw_scores=False, device="cpu", console=QUIET)
    assert measured.calibrated is not None
    assert measured.calibrated.overall["best_threshold"] == pytest.approx(mapped.metrics["F1_threshold"], rel=1e-3)
    assert measured.calibrated.overall["best_F1"] == pytest.approx(mapped.metrics["F1"])
    assert measured.raw.thresholds == checkpoint.thresholds(raw_scores=True)


def test_order_and_ids_of_the_categories_do_not_matter(checkpoint: Checkpoint, shapes: Path, tmp_path: Path) -> None:
    data = with_other_category_ids(shapes, tmp_path / "data")
    one, other = (
        measure_calibration(evaluate(checkpoint, place, "val", device="cpu", console=QUIET), checkpoint)
        for place in (shapes, data)
    )
    for kind in ("raw", "calibrated"):
        expected, measured = getattr(one, kind), getattr(other, kind)
        assert measured.overall == pytest.approx(expected.overall, abs=1e-9)
        for name, row in expected.per_class.items():
            assert measured.per_class[name] == pytest.approx(row, abs=1e-9)


def test_thresholds_of_classes_stand_beside_them(checkpoint: Checkpoint, shapes: Path, tmp_path: Path) -> None:
    evaluation = evaluate(checkpoint, shapes, "val", device="cpu", console=QUIET)
    write_calibration(measure_calibration(evaluation, checkpoint), evaluation, tmp_path / "new")
    record = json.loads((tmp_path / "new" / "calibration.json").read_text())
    assert "threshold" in record["raw"] and "threshold" not in record["calibrated"]
    thresholds = [record["calibrated"]["per_class"][name]["threshold"] for name in checkpoint.class_names]
    assert thresholds == pytest.approx(np.linspace(0.2, 0.7, len(thresholds)))
    assert (tmp_path / "new" / "calibration.png").stat().st_size > 1000


def test_lvis_is_measured_by_its_protocol(tmp_path: Path) -> None:
    """The same detections count as for AP, and none of a class for which an image was not annotated."""
    image = {"id": 1, "file_name": "1.jpg", "width": 64, "height": 64, "neg_category_ids": []}
    entry = {"image_id": 1, "bbox": [0, 0, 8, 8]}
    dataset = {
        "images": [image],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [{"id": 1, "category_id": 7, "area": 64, "iscrowd": 0, **entry}],
    }
    file = tmp_path / "val.json"
    file.write_text(json.dumps(dataset))
    found = [{**entry, "category_id": category, "score": 0.5} for category in [7] * 150 + [3] * 20]
    matching = lvis_ap(dataset, found).matching
    evaluation = Evaluation({}, [], matching, found, CocoSplit("val", file, tmp_path), ("cat", "dog"), 1, 0.0)
    scored = scored_detections(evaluation)
    assert scored.class_names == ("dog", "cat")
    assert (scored.matching.detection_classes == 1).sum() == len(scored.matching.scores) == len(matching.scores) == 150
