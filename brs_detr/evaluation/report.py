"""Write the report of a run from the files in its folder."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rich.console import Console

import brs_detr
from brs_detr.analysis.analysis import Analysis, analyse
from brs_detr.checkpoints.checkpoint import read_checkpoint
from brs_detr.config.config_text import parse_config_text
from brs_detr.data.annotations import class_names_of, read_annotations
from brs_detr.data.checks.cleaning import clean_annotations
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.data.text import is_number, read_json
from brs_detr.errors import UserError
from brs_detr.evaluation.calibrate import in_order_of
from brs_detr.printable import printable
from brs_detr.report.pictures import TruthPicture, draw_truth
from brs_detr.report.run_page import RunReport, write_run_page
from brs_detr.run.console import make_console
from brs_detr.run.run_folder import RunFolder, read_numbers
from brs_detr.run.run_record import read_record
from brs_detr.runtime.calibration import Calibration

NUM_PICTURES = 6
Part = TypeVar("Part")

_HINT = "An entry has image_id, category_id, bbox (x, y, w, h) and score, all of them finite numbers."
_MAX_VALUE = 1e15  # the area of a box of this size is still finite


class _Detections(NamedTuple):
    split: CocoSplit
    predictions: list[dict[str, Any]]


def write_report(
    run: str | Path,
    *,
    split: str = "val",
    device: str | None = None,
    console: Console | None = None,
    trust_file: bool = False,
) -> Path:
    """Write `report.html`, and its figures in `report/`, into a run folder.

    The page says what is missing, for instance because the run was never evaluated or its images are gone.

    Args:
        run: the run folder.
        split: split to analyse. Detections on `val` are stored in the run folder; for another split, the best
            checkpoint is evaluated.
        device: device for that evaluation: `cpu`, `cuda`, ... By default the GPU if there is one.
        console: where to show progress.
        trust_file: run the code that the checkpoint asks for.

    Returns:
        Path of the page.

    Raises:
        UserError: the folder is not a run folder, or there is no such split.
    """
    folder = RunFolder(Path(run))
    if not folder.path.is_dir() or not (folder.record.exists() or folder.config.exists()):
        raise UserError(f"{run} is not a run folder: it has no run.json.", "Check the path.")
    console, missing = console or make_console(), list[str]()

    def part(read: Callable[[], Part], default: Part, what: str) -> Part:
        try:
            return read()
        except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            missing.append(f"{what}: {error}")
            return default

    record: dict[str, Any] = part(lambda: read_record(folder), {}, "No record of the run")
    detections = part(
        lambda: _detections(folder, record, split, device, console, trust_file), None, "No analysis of detections"
    )
    analysis, pictures = None, list[TruthPicture]()
    if detections is not None:
        dataset, _ = clean_annotations(read_annotations(detections.split.annotation_file), Path(split))
        calibration = part(lambda: _calibration(folder, dataset, trust_file), None, "Raw scores only")
        analysis = analyse(dataset, detections.predictions, calibration=calibration)
        pictures = part(lambda: _pictures(dataset, detections, analysis), [], "No pictures")
    report = RunReport(
        name=folder.path.resolve().name,
        folder=str(run),
        record=record,
        rows=read_numbers(folder.metrics),
        config=part(lambda: _config_facts(folder.config), {}, "No facts of the config"),
        split=split,
        analysis=analysis,
        pictures=pictures,
        missing=missing,
        version=brs_detr.__version__,
    )
    return write_run_page(report, folder.report, folder.path / "report")


def report_after_training(run: RunFolder, console: Console) -> None:
    """Write the report after training. An error is printed and does not make the training fail."""
    try:
        page = write_report(run.path, console=console)
    except Exception as error:
        console.print(f"No report was written: {type(error).__name__}: {error}", markup=False, soft_wrap=True)
        console.print(f"The training is complete. To try again: brs-detr report {run.path}", markup=False)
        return
    console.print(f"Report: {page}", markup=False, soft_wrap=True)


def _detections(
    folder: RunFolder, record: Mapping[str, Any], split: str, device: str | None, console: Console, trust_file: bool
) -> _Detections:
    phase = record.get("splits", {}).get(split)
    if split == "val" and phase is not None and folder.predictions.exists():
        predictions = read_predictions(folder.predictions)
        return _Detections(CocoSplit(split, Path(phase["annotation_file"]), Path(phase["image_dir"])), predictions)
    if not folder.best.exists():
        raise UserError("The run was never evaluated.", "Train at least one epoch with validation data.")
    from brs_detr.evaluation.evaluate import evaluate

    evaluation = evaluate(folder.best, split=split, device=device, console=console, trust_file=trust_file)
    return _Detections(evaluation.split, evaluation.predictions)


def _calibration(folder: RunFolder, dataset: Mapping[str, Any], trust_file: bool) -> Calibration | None:
    """Return the calibration of the best checkpoint, with the classes in the order of the category ids."""
    if not folder.best.exists():
        return None
    checkpoint = read_checkpoint(folder.best, trust_file, with_values=False)
    calibration = checkpoint.calibration()
    if calibration is None:
        return None
    names = class_names_of(dataset, "the dataset")
    return in_order_of(calibration, checkpoint.class_names, names)


def _pictures(dataset: Mapping[str, Any], detections: _Detections, analysis: Analysis) -> list[TruthPicture]:
    images = {image["id"]: image for image in dataset["images"]}
    worst = [images[error.image_id] for error in analysis.worst_images[:NUM_PICTURES]]
    return [draw_truth(dataset, analysis.shown, image, detections.split.image_dir) for image in worst]


def _config_facts(path: Path) -> dict[str, str]:
    """Return the facts of a config that the report shows."""
    config = parse_config_text(path.read_text(encoding="utf-8"), str(path))
    model, loader, optimizer = config.model, config.train_dataloader, config.optim_wrapper
    backbone = model.get("backbone", {})
    depth = f"-{backbone['depth']}" if "depth" in backbone else ""
    facts = {
        "detector": model.type,
        "backbone": f"{backbone.get('model_name', backbone.get('type', ''))}{depth}",
        "epochs": str(config.train_cfg.max_epochs),
        "images per batch": str(loader.batch_size),
        "batches accumulated": str(optimizer.get("accumulative_counts", 1)),
        "optimizer": f"{optimizer.optimizer.type}, learning rate {optimizer.optimizer.lr:g}",
    }
    sizes = [
        step.scale
        for step in config.val_dataloader.dataset.pipeline
        if step.get("type") == "Resize" and "scale" in step
    ]
    return {**facts, **({"resolution": " x ".join(map(str, sizes[0]))} if sizes else {})}


def read_predictions(file: Path) -> list[dict[str, Any]]:
    """Read COCO results from a JSON list of objects with `image_id`, `category_id`, `bbox` (x, y, w, h) and `score`.

    Raises:
        UserError: the file cannot be read, or an entry is not a detection. The message names its index, from 0.
    """
    entries = read_json(file)
    if not isinstance(entries, list):
        raise UserError(f"{file} holds a JSON {type(entries).__name__}, not a list of detections.", _HINT)
    for index, entry in enumerate(entries):
        if not _is_detection(entry):
            raise UserError(f"{file}: entry {index} is not a detection: {printable(reprlib.repr(entry))}.", _HINT)
    return entries


def _is_detection(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    box = entry.get("bbox")
    is_box = isinstance(box, list) and len(box) == 4 and all(map(_is_finite, box))
    are_ids = all(isinstance(entry.get(key), int) and is_number(entry[key]) for key in ("image_id", "category_id"))
    return is_box and are_ids and _is_finite(entry.get("score"))


def _is_finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value) and abs(value) <= _MAX_VALUE
