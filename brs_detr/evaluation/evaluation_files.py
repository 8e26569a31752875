"""Write an evaluation down: numbers, detections and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from brs_detr.data.annotations import read_annotations
from brs_detr.evaluation.evaluate import Evaluation
from brs_detr.report.contact_sheet import contact_sheet
from brs_detr.report.truth_pictures import draw_truth


def write_evaluation(evaluation: Evaluation, folder: Path, num_pictures: int = 8) -> None:
    """Write `metrics.json`, `predictions.json` (COCO results) and `pictures.jpg` (truth beside detections).

    Args:
        evaluation: from `evaluate`.
        folder: made when it does not exist; files of these names are replaced.
        num_pictures: how many images of the split to draw, spread evenly over it, with the detections that have a score
            above the threshold of the best F1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "metrics.json", metrics_record(evaluation))
    _write_json(folder / "predictions.json", evaluation.predictions)
    threshold = evaluation.metrics["F1_threshold"]
    truth_and_detections(evaluation, num_pictures, threshold).save(folder / "pictures.jpg", quality=90)


def metrics_record(evaluation: Evaluation) -> dict[str, Any]:
    """Everything that was measured, as plain values."""
    return {
        **evaluation.metrics,
        "per_class": class_rows(evaluation),
        "annotation_file": str(evaluation.split.annotation_file),
        "num_images": evaluation.num_images,
        "seconds": evaluation.seconds,
    }


def class_rows(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """AP, AP50 and number of boxes by class name, as `brs_detr.report.table` shows them."""
    return {row.name: {"AP": row.AP, "AP50": row.AP50, "boxes": row.num_boxes} for row in evaluation.per_class}


def truth_and_detections(evaluation: Evaluation, num_pictures: int, score_threshold: float) -> Image.Image:
    """A sheet with two pictures of each image: its ground truth on the left, what was detected on the right.

    Args:
        evaluation: from `evaluate`, on at least one image.
        num_pictures: images to draw, spread evenly over the split.
        score_threshold: detections with a lower score are left out.
    """
    dataset = read_annotations(evaluation.split.annotation_file)
    detections = [entry for entry in evaluation.predictions if entry["score"] >= score_threshold]
    sheet, captions = [], []
    for image in _spread(dataset["images"], num_pictures):
        pair = draw_truth(dataset, detections, image, evaluation.split.image_dir, evaluation.class_names)
        sheet += [pair.truth, pair.detected]
        captions += [f"{pair.file_name}: truth", f"{pair.file_name}: detected"]
    return contact_sheet(sheet, columns=4, captions=captions)


def _spread(images: Sequence[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    number = min(number, len(images))
    return [images[place * len(images) // number] for place in range(number)]


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
