"""Measure a checkpoint on a data set, and write down numbers, detections and pictures."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from rich.console import Console

from brs_detr.analysis.coco_ap import ClassAP
from brs_detr.analysis.matching import Matching
from brs_detr.checkpoints.checkpoint import Checkpoint, build_model, read_checkpoint, warn_of_cut
from brs_detr.config.folder_data import check_data, open_split, split_of, use_split
from brs_detr.data.annotations import read_annotations, read_class_names
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.errors import UserError
from brs_detr.evaluation.loaders import build_loader
from brs_detr.files import temporary_folder, write_whole
from brs_detr.report.pictures import contact_sheet, draw_truth
from brs_detr.run.console import make_console, track
from brs_detr.run.distributed import from_first, is_launched, join_processes

if TYPE_CHECKING:
    from mmengine import Config
    from torch import nn

    from brs_detr.evaluation.coco_metric import CocoAPMetric


@dataclass(frozen=True)
class Evaluation:
    """Result of `evaluate`.

    Args:
        metrics: `AP`, `AP50`, ..., see `brs_detr.analysis.coco_ap.CocoAP`.
        per_class: AP of each class.
        matching: which detection found which object.
        predictions: COCO result entries, with image and category ids of the annotation file; of several processes, the
            first one has those of all, and the others have none.
        split: what was evaluated on.
        class_names: of the checkpoint; the index in the list is the label.
        num_images: in the split.
        seconds: for all images, loading included.
    """

    metrics: dict[str, float]
    per_class: list[ClassAP]
    matching: Matching
    predictions: list[dict[str, Any]]
    split: CocoSplit
    class_names: tuple[str, ...]
    num_images: int
    seconds: float


def evaluate(
    checkpoint: str | Path | Checkpoint,
    data: str | Path | CocoSplit | None = None,
    split: str | None = None,
    *,
    head: str | None = None,
    raw_scores: bool = True,
    device: str | None = None,
    console: Console | None = None,
    trust_file: bool = False,
) -> Evaluation:
    """Measure COCO AP of a checkpoint, by pycocotools and without rounding.

    Processes that `torchrun` started share the images, so all of them have to call it.

    Args:
        checkpoint: from `train`.
        data: data set in COCO, Pascal VOC or YOLO format, or one split; by default the data set of the training.
        split: `train`, `val` or `test`; by default `test`, or `val` where there is no `test`.
        head: evaluate this head of the model, `query`, `roi` or `atss`; by default the one its config names.
        raw_scores: measure scores as they were trained, not as the probabilities that a calibrated checkpoint gives.
        device: `cpu`, `cuda`, ...; by default the GPU if there is one.
        console: where progress is shown.
        trust_file: run the code that the checkpoint asks for.

    Raises:
        UserError: the checkpoint or the data cannot be used, their classes differ, the model has no such head, or one
            GPU is named for several processes.
    """
    console = console or make_console()
    if is_launched() and device is not None and ":" in device:
        raise UserError(
            f"Each of several processes has a GPU of its own, not all of them {device}.", "Leave out --device."
        )
    content = checkpoint if isinstance(checkpoint, Checkpoint) else read_checkpoint(checkpoint, trust_file)
    if isinstance(data, CocoSplit):
        chosen = data
    else:
        chosen = open_any_split(data, split, console) if data is not None else _trained_split(content.config, split)
    require_same_classes(chosen, content.class_names)
    config = copy.deepcopy(content.config)
    use_split(config, "test", chosen, content.class_names)
    if data is None:
        check_data(config, ("test",), console)
    if content.left_out_cut:
        console.print(
            f"{content.path} wants no score below {content.left_out_cut:g}; after a ranking loss that has no meaning. "
            "All scores are measured."
        )
    join_processes(config)
    model = build_model(content, device, head=head, raw_scores=raw_scores)
    started = time.perf_counter()
    metric = _measure(model, config, content.class_names, console)
    seconds = time.perf_counter() - started
    result = from_first(metric.result)
    assert result is not None
    if warning := warn_of_cut(config.model, result.metrics["F1_threshold"]):
        console.print(warning)
    return Evaluation(
        metrics=result.metrics,
        per_class=result.per_class,
        matching=result.matching,
        predictions=metric.predictions,
        split=chosen,
        class_names=content.class_names,
        num_images=len(metric.dataset["images"]),
        seconds=seconds,
    )


def open_any_split(data: str | Path, name: str | None, console: Console) -> CocoSplit:
    """A split of a data set in any format; by default `test`, or `val` where there is none.

    Raises:
        UserError: it has no such split, or the split cannot be used.
    """
    placed = temporary_folder()  # for a data set that has no file of this kind itself
    try:
        return open_split(data, [name] if name else ["test", "val"], placed, console)
    finally:
        if not any(placed.iterdir()):
            placed.rmdir()


def _trained_split(config: Config, name: str | None) -> CocoSplit:
    test, val = split_of(config, "test"), split_of(config, "val")
    is_one = test.annotation_file == val.annotation_file
    if name == "test" and is_one:
        raise UserError(
            f"The training had no test split beside the one it was measured on, {val.annotation_file}.",
            "Take --split val, or name other data with --data DATA.",
        )
    chosen = split_of(config, name) if name is not None else val if is_one else test
    file = chosen.annotation_file
    if not file.is_file():
        told = f"has its images in {file}, which is not there" if file.name else "names no images to measure it on"
        raise UserError(f"The checkpoint {told}.", "Name a data set with --data DATA.")
    return chosen


def require_same_classes(split: CocoSplit, class_names: tuple[str, ...]) -> None:
    """Raise a UserError unless a data set and a checkpoint have the same classes."""
    names = read_class_names(split.annotation_file)
    odd = sorted(set(names) ^ set(class_names))
    if odd:
        raise UserError(
            f"{split.annotation_file} and the checkpoint differ in their classes; only one knows {', '.join(odd)}.",
            f"The checkpoint was trained for: {', '.join(class_names)}.",
        )


def _measure(model: nn.Module, config: Config, class_names: tuple[str, ...], console: Console) -> CocoAPMetric:
    import torch

    from brs_detr.evaluation.coco_metric import CocoAPMetric
    from brs_detr.evaluation.loaders import register

    register()
    loader = build_loader(config.test_dataloader)
    metric = CocoAPMetric(config.test_evaluator.ann_file, config.test_evaluator.get("masks", False))
    metric.dataset_meta = {"classes": class_names}
    with torch.inference_mode():
        for batch in track(loader, "evaluating", console):
            samples = model.test_step(batch)  # type: ignore[operator]
            metric.process(batch, [sample.to_dict() for sample in samples])
    metric.evaluate(len(loader.dataset))  # type: ignore[arg-type]
    return metric


def write_evaluation(evaluation: Evaluation, folder: Path, num_pictures: int = 8) -> None:
    """Write `metrics.json`, `predictions.json` (COCO results) and `pictures.jpg` (truth beside detections).

    Args:
        evaluation: from `evaluate`.
        folder: made when it does not exist; files of these names are replaced.
        num_pictures: images of the split to draw, spread evenly over it, with the detections that have a score
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
    """AP, AP50 and number of boxes by class name, as `brs_detr.report.tables` shows them."""
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
    return [images[index * len(images) // number] for index in range(number)]


def _write_json(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content, indent=1) + "\n")
