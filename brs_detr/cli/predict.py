"""`brs-detr predict`: detect objects in images and videos."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brs_detr.cli.options import NumberRange, trust_option
from brs_detr.errors import UserError, shortened

if TYPE_CHECKING:
    from brs_detr.runtime.calibration import Thresholds

SOME_UNREADABLE = 1


@click.command("predict", short_help="Detect objects in images and videos.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", type=click.Path(path_type=Path), default=Path("predictions"), show_default=True)
@click.option(
    "--threshold",
    type=NumberRange(0, 1),
    help="Lowest score to keep. [default: 0.5, or what `brs-detr calibrate` chose for each class]",
)
@click.option("--raw-scores", is_flag=True, help="Use scores as trained, which are not probabilities.")
@click.option("--classes", help="Keep these classes only; comma-separated names.")
@click.option("--recursive", is_flag=True, help="Search subfolders too.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Images per batch.")
@click.option(
    "--tile", type=click.IntRange(32), help="Detect in tiles of this many pixels, for small objects in large images."
)
@click.option(
    "--overlap", type=NumberRange(0, 0.9), default=0.2, show_default=True, help="Overlap of tiles, as a fraction."
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["json", "csv", "coco", "yolo"]),
    help="Also write this format; repeatable. JSON is always written.",
)
@click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="COCO file with the image and category ids for --format coco.",
)
@click.option("--no-pictures", is_flag=True, help="Do not write annotated images.")
@click.option("--crops", is_flag=True, help="Also write a crop of each object.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Use every Nth frame.")
@click.option("--max-frames", type=click.IntRange(1), help="Stop after this many frames of a video or camera.")
@click.option("--device", help="cpu, cuda, cuda:1, ... [default: the GPU if there is one]")
@click.option("--overwrite", is_flag=True, help="Replace the predictions in --out.")
@trust_option
def command(
    model: Path,
    sources: tuple[str, ...],
    out: Path,
    threshold: float | None,
    raw_scores: bool,
    classes: str | None,
    recursive: bool,
    batch: int,
    tile: int | None,
    overlap: float,
    formats: tuple[str, ...],
    annotations: Path | None,
    no_pictures: bool,
    crops: bool,
    every: int,
    max_frames: int | None,
    device: str | None,
    overwrite: bool,
    trust_file: bool,
) -> None:
    """Detect objects in each SOURCE with MODEL and draw them.

    MODEL is an exported detector, a run folder or a checkpoint. A SOURCE is an image, a folder of images, a pattern
    such as 'photos/*.jpg', a video, the http address of an image or a video, or webcam (webcam:1 for the second).

    Writes annotated images and predictions.json, which has for each image its size and objects: class name, score and
    box (x1, y1, x2, y2) in pixels. docs/predict.md describes all files.

    \b
    Examples:
      brs-detr predict best.pth street.jpg
      brs-detr predict model.onnx photos --recursive --batch 4 --format csv
      brs-detr predict work_dirs/traffic 'day/*.png' night.mp4 --threshold 0.5 --classes car,bus
      brs-detr predict best.pth aerial.tif --tile 640 --overlap 0.2
      brs-detr predict best.pth val --format coco --annotations val.json --no-pictures
      brs-detr predict model.onnx webcam --max-frames 500
    """
    from brs_detr.exporting.formats import format_of
    from brs_detr.predict.detector import Detector, TiledDetector
    from brs_detr.predict.run import PredictOptions, predict, require_readable, require_room
    from brs_detr.predict.sources import find_sources, left_out
    from brs_detr.run.console import make_console

    console = make_console()
    if annotations is not None and "coco" not in formats:
        raise UserError("--annotations is only for --format coco.", "Add --format coco, or leave it out.")
    known, image_dir = _read_annotations(annotations)
    options = PredictOptions(
        out,
        formats=formats,
        pictures=not no_pictures,
        crops=crops,
        batch_size=batch,
        classes=classes,
        annotations=known,
        image_dir=image_dir,
        most_frames=max_frames,
        every=every,
    )
    with tempfile.TemporaryDirectory(prefix="brs-detr-") as downloads:
        found = find_sources(sources, recursive, Path(downloads))
        paged = require_readable(found)
        detector: Any = Detector(model, device, threshold, batch, trust_file=trust_file, raw_scores=raw_scores)
        options = replace(options, batch_size=detector.batch_size)
        if tile is not None:
            detector = TiledDetector(detector, tile, overlap)
        require_room(found, out, overwrite, pictures=not no_pictures)
        result = predict(detector, str(model), found, options, console)
    if result.num_objects == 0:
        console.print(f"No object scores {_range(detector.score_threshold)}; a lower --threshold may find some.")
    if not detector.calibrated and not raw_scores and format_of(model) is None:
        console.print(f"These scores are not probabilities; `brs-detr calibrate {model}` makes them so.")
    console.print(f"{result.num_objects} objects in {result.num_frames} images. Written to {out}/ (predictions.json)")
    for message in result.unreadable:
        console.print(f"Skipped: {message}")
    if others := left_out(sources, recursive):
        console.print(f"Skipped, not images by their suffix: {len(others)} ({shortened(others)})")
    if paged:
        console.print(f"Only the first page or frame was used: {len(paged)} ({shortened(paged)})")
    if result.unreadable:
        sys.exit(SOME_UNREADABLE)


def _range(thresholds: Thresholds) -> str:
    if isinstance(thresholds, tuple):
        return f"as much as its class needs, {min(thresholds):.3f} to {max(thresholds):.3f}"
    return f"{thresholds:.3f} or more"


def _read_annotations(file: Path | None) -> tuple[dict[str, Any] | None, Path | None]:
    """Read the images and categories in a file, and find the folder of the images if it is there."""
    if file is None:
        return None, None
    from brs_detr.data.annotations import read_annotations
    from brs_detr.data.checks.annotation_check import find_annotation_faults
    from brs_detr.data.findings import Findings
    from brs_detr.data.formats.coco_folder import split_of_file, with_found_names
    from brs_detr.data.kinds import DUPLICATE_ID, DUPLICATE_NAME, MALFORMED

    if not file.is_file():
        raise UserError(f"There is no file {file}.", "Check the path of --annotations.")
    dataset = {**read_annotations(file), "annotations": []}
    found = find_annotation_faults(dataset, file).found
    kinds = (MALFORMED, DUPLICATE_ID, DUPLICATE_NAME)
    Findings(file, tuple(finding for finding in found if finding.kind in kinds)).refuse_fatal()
    try:
        image_dir = split_of_file(file).image_dir
    except UserError:  # the images are somewhere else
        return dataset, None
    return with_found_names(dataset, image_dir)[0], image_dir
