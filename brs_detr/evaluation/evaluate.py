"""Measure a checkpoint on a dataset, and write metrics, detections and drawn images."""

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
        predictions: COCO results, with the image and category ids of the annotation file. With several processes, the
            first one has all results and the others have none.
        split: the split that was evaluated.
        class_names: class names of the checkpoint, by label.
        num_images: number of images in the split.
        seconds: time for all images, including loading.
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
    """Measure the COCO AP of a checkpoint with pycocotools, without rounding.

    Under `torchrun`, the processes share the images, and all of them have to call this function.

    Args:
        checkpoint: run folder, checkpoint file, or checkpoint that was read before.
        data: dataset in COCO, Pascal VOC or YOLO format, or one split. By default the dataset of the training.
        split: `train`, `val` or `test`. By default `test`, or `val` if there is no `test`.
        head: head to evaluate, `query`, `roi` or `atss`. By default the one that the config names.
        raw_scores: use raw scores instead of the probabilities of a calibrated checkpoint.
        device: `cpu`, `cuda`, ... By default the GPU if there is one.
        console: where to show progress.
        trust_file: run the code that the checkpoint asks for.

    Raises:
        UserError: the checkpoint or the data cannot be used, their classes differ, the model has no such head, or
            several processes are to use the same GPU.
    """
    console = console or make_console()
    if is_launched() and device is not None and ":" in device:
        raise UserError(f"Several processes cannot share the GPU {device}.", "Leave out --device: each uses its own.")
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
            f"{content.path} drops scores below {content.left_out_cut:g}, which has no meaning after a ranking loss. "
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
    """Open a split of a dataset in any format, by default `test`, or `val` if there is no `test`.

    Raises:
        UserError: the dataset has no such split, or the split cannot be used.
    """
    placed = temporary_folder()  # for the annotation file of a dataset in another format
    try:
        return open_split(data, [name] if name else ["test", "val"], placed, console)
    finally:
        if not any(placed.iterdir()):
            placed.rmdir()


def _trained_split(config: Config, name: str | None) -> CocoSplit:
    test, val = split_of(config, "test"), split_of(config, "val")
    has_no_test = test.annotation_file == val.annotation_file
    if name == "test" and has_no_test:
        raise UserError(
            f"The training had no test split, only the validation split {val.annotation_file}.",
            "Use --split val, or name other data with --data DATA.",
        )
    chosen = split_of(config, name) if name is not None else val if has_no_test else test
    file = chosen.annotation_file
    if not file.is_file():
        fault = f"refers to {file}, which does not exist" if file.name else "names no data to evaluate it on"
        raise UserError(f"The checkpoint {fault}.", "Name a dataset with --data DATA.")
    return chosen


def require_same_classes(split: CocoSplit, class_names: tuple[str, ...]) -> None:
    """Raise a UserError unless a dataset and a checkpoint have the same classes."""
    differing = sorted(set(read_class_names(split.annotation_file)) ^ set(class_names))
    if differing:
        raise UserError(
            f"{split.annotation_file} and the checkpoint have different classes; only one of them has "
            f"{', '.join(differing)}.",
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
    """Write `metrics.json`, `predictions.json` (COCO results) and `pictures.jpg` (ground truth beside detections).

    Args:
        evaluation: result of `evaluate`.
        folder: output folder, created if needed. Existing files of these names are replaced.
        num_pictures: number of images to draw, spread evenly over the split, with the detections whose score reaches
            the threshold of the best F1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "metrics.json", metrics_record(evaluation))
    _write_json(folder / "predictions.json", evaluation.predictions)
    threshold = evaluation.metrics["F1_threshold"]
    truth_and_detections(evaluation, num_pictures, threshold).save(folder / "pictures.jpg", quality=90)


def metrics_record(evaluation: Evaluation) -> dict[str, Any]:
    """Return everything that was measured as plain values."""
    return {
        **evaluation.metrics,
        "per_class": class_rows(evaluation),
        "annotation_file": str(evaluation.split.annotation_file),
        "num_images": evaluation.num_images,
        "seconds": evaluation.seconds,
    }


def class_rows(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """Return AP, AP50 and the number of boxes by class name, as `brs_detr.report.tables` shows them."""
    return {row.name: {"AP": row.AP, "AP50": row.AP50, "boxes": row.num_boxes} for row in evaluation.per_class}


def truth_and_detections(evaluation: Evaluation, num_pictures: int, score_threshold: float) -> Image.Image:
    """Draw some images twice, side by side: with the ground truth on the left and the detections on the right.

    Args:
        evaluation: result of `evaluate` on at least one image.
        num_pictures: number of images to draw, spread evenly over the split.
        score_threshold: lowest score of a detection to draw.
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
