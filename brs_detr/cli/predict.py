"""`brs-detr predict`: find the objects on pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brs_detr.errors import UserError

if TYPE_CHECKING:
    from brs_detr.runtime.detections import Detections

RESULT = "predictions.json"
_KEPT_SUFFIXES = {".jpg", ".jpeg", ".png"}


@click.command("predict", short_help="Draw what a checkpoint finds on pictures.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path), metavar="IMAGE|DIR")
@click.option("--out", type=click.Path(path_type=Path), default=Path("predictions"), show_default=True)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Lowest score to keep. [default: the one with the best F1 on the validation data of the training]",
)
@click.option("--device", help="cpu, cuda, cuda:1, ... [default: the GPU if there is one]")
@click.option("--overwrite", is_flag=True, help="Replace the predictions that --out already holds.")
def command(
    checkpoint: Path, source: Path, out: Path, threshold: float | None, device: str | None, overwrite: bool
) -> None:
    """Draw what CHECKPOINT finds on an image, or on all images of a folder.

    Writes the drawn pictures and predictions.json: for each image its size and the objects with class name, score and
    box (x1, y1, x2, y2) in pixels.

    \b
    Examples:
      brs-detr predict best.pth street.jpg
      brs-detr predict best.pth photos --out found --threshold 0.5
    """
    from PIL import Image, ImageOps

    from brs_detr.data.images import read_size
    from brs_detr.engine.bars import track
    from brs_detr.engine.console import make_console
    from brs_detr.engine.detector import Detector

    console = make_console()
    if (out / RESULT).exists() and not overwrite:
        raise UserError(f"{out} already holds predictions.", "Add --overwrite, or write elsewhere with --out DIR.")
    paths = _images_in(source)
    pictures = [out / _picture_name(path) for path in paths]
    _keep_originals(paths, pictures)
    sizes = [read_size(path) for path in paths]  # refuses an unreadable file before any work is done
    detector = Detector(checkpoint, device, threshold)
    found = [detector(path) for path in track(paths, "detecting", console)]
    out.mkdir(parents=True, exist_ok=True)
    for path, target, detections in track(list(zip(paths, pictures, found, strict=True)), "drawing", console):
        with Image.open(path) as file:
            picture = detections.draw(ImageOps.exif_transpose(file).convert("RGB"))
        picture.save(target)
    images = [_entry(*columns) for columns in zip(paths, sizes, found, strict=True)]
    record = {
        "checkpoint": str(checkpoint),
        "class_names": list(detector.class_names),
        "score_threshold": detector.score_threshold,
        "images": images,
    }
    (out / RESULT).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    num_objects = sum(map(len, found))
    if num_objects == 0:
        console.print(f"Nothing scores {detector.score_threshold:.3f} or more; a lower --threshold may show something.")
    console.print(f"{num_objects} objects on {len(paths)} images. Written to {out}/ ({RESULT})")


def _images_in(source: Path) -> list[Path]:
    from brs_detr.data.images import SUFFIXES

    if not source.is_dir():
        return [source]
    paths = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"There is no image in {source}.", f"Known suffixes: {', '.join(sorted(SUFFIXES))}.")
    return paths


def _keep_originals(paths: list[Path], pictures: list[Path]) -> None:
    originals = {path.resolve() for path in paths}
    for picture in pictures:
        if picture.resolve() in originals:
            raise UserError(f"The drawn picture would replace the original {picture}.", "Choose another --out DIR.")


def _picture_name(path: Path) -> str:
    return path.name if path.suffix.lower() in _KEPT_SUFFIXES else f"{path.name}.png"


def _entry(path: Path, size: tuple[int, int], detections: Detections) -> dict[str, Any]:
    objects = [
        {"name": found.name, "label": found.label, "score": found.score, "box_xyxy": list(found.box_xyxy)}
        for found in detections
    ]
    return {"file": path.name, "height": size[0], "width": size[1], "objects": objects}
