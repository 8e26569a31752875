"""Read, detect, write: one batch after the other, so that memory does not grow with the number of images."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from brs_detr.data.formats.layout import is_there
from brs_detr.data.images import read_header
from brs_detr.data.text import read_json
from brs_detr.errors import UserError, did_you_mean, shortened
from brs_detr.predict.coco_ids import find_category_ids, find_image_ids
from brs_detr.predict.sources import Source
from brs_detr.predict.video import Frame, Video
from brs_detr.predict.writers import (
    CROPS,
    FORMATS,
    CocoWriter,
    CropWriter,
    CsvWriter,
    JsonWriter,
    PictureWriter,
    Writer,
    YoloWriter,
    picture_name,
    video_names,
)
from brs_detr.run.console import track
from brs_detr.runtime.calibration import by_name
from brs_detr.runtime.detections import Detections
from brs_detr.runtime.images import UnreadableImage, read_pixels


@dataclass(frozen=True)
class PredictOptions:
    """What to read and write.

    Args:
        out: folder for all results.
        formats: keys of `brs_detr.predict.writers.FORMATS`; JSON is always written.
        pictures: draw the objects on the images.
        crops: cut the objects out.
        batch_size: number of images to read and detect together.
        classes: class names to keep, separated by commas (`choose_labels`); None for all.
        annotations: COCO object with the image and category ids for the COCO results.
        image_dir: folder that its file names are relative to, if known.
        most_frames: number of frames of a video or camera; None for all.
        every: take one frame of so many.
    """

    out: Path
    formats: tuple[str, ...] = ("json",)
    pictures: bool = True
    crops: bool = False
    batch_size: int = 1
    classes: str | None = None
    annotations: dict[str, Any] | None = None
    image_dir: Path | None = None
    most_frames: int | None = None
    every: int = 1


@dataclass
class Predicted:
    """What was done.

    Args:
        num_frames: number of images and video frames.
        num_objects: number of objects found.
        unreadable: what is wrong with each image that could not be decoded.
    """

    num_frames: int = 0
    num_objects: int = 0
    unreadable: list[str] = field(default_factory=list)


def predict(
    detector: Any, model_name: str, sources: Sequence[Source], options: PredictOptions, console: Console
) -> Predicted:
    """Detect on all sources and write what was found.

    Args:
        detector: called with a list of RGB arrays; has `class_names`, `score_threshold` and `calibrated`.
        model_name: name of the model in predictions.json.
        sources: from `find_sources`, checked by `require_readable`.
        options: what to write.
        console: shows progress.

    Raises:
        UserError: a video cannot be opened, no image can be decoded, or a class is unknown.
    """
    kept_labels = None if options.classes is None else choose_labels(options.classes, detector.class_names)
    videos = {source: Video(source, options.most_frames, options.every) for source in sources if source.is_video}
    result = Predicted()
    writers = _writers(detector, model_name, sources, videos, options)
    try:
        for batch in _batches(_frames(sources, videos, result, console), options.batch_size):
            for frame, found in zip(batch, detector([frame.pixels for frame in batch]), strict=True):
                chosen = found if kept_labels is None else _only(found, kept_labels)
                for writer in writers:
                    writer.add(frame, chosen)
                result.num_frames += 1
                result.num_objects += len(chosen)
        if not result.num_frames:
            raise UserError("No image could be decoded: " + " ".join(result.unreadable))
    except BaseException as end:
        if isinstance(end, KeyboardInterrupt) and result.num_frames:  # of a camera, the way to end it
            for writer in writers:
                writer.close()
            return result
        for writer in writers:
            writer.discard()
        raise
    for writer in writers:
        writer.close()
    return result


def require_readable(sources: Sequence[Source]) -> list[str]:
    """Refuse files that are no images, by their headers, before any work is done.

    Returns:
        Names of images with several pages or frames, of which only the first is used.

    Raises:
        UnreadableImage: the first that cannot be read.
    """
    images = [source for source in sources if source.path is not None and not source.is_video]
    return [source.name for source in images if source.path is not None and read_header(source.path).has_more]


def require_room(sources: Sequence[Source], out: Path, overwrite: bool, pictures: bool = True) -> None:
    """Refuse to mix new results with old ones, or to draw over an original.

    Args:
        sources: what to detect on.
        out: folder of the results.
        overwrite: delete what an earlier run wrote there.
        pictures: the sources will be drawn.

    Raises:
        UserError: it is a file, there are earlier results, or a drawn picture would replace an original or another one.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file, not a folder.", "Choose another --out DIR.")
    record = out / FORMATS["json"]
    if record.exists() and not overwrite:
        raise UserError(f"{out} already holds predictions.", "Add --overwrite, or write elsewhere with --out DIR.")
    originals = {source.path.resolve() for source in sources if source.path is not None}
    drawn: dict[str, Source] = {}
    for source in sources if pictures else ():
        name = picture_name(source.name)
        if (out / name).resolve() in originals:
            raise UserError(f"The drawn picture would replace the original {out / name}.", "Choose another --out DIR.")
        first = drawn.setdefault(name.lower(), source)
        if first is not source:
            raise UserError(f"{first.name} and {source.name} would both be drawn as {name}.", "Rename one of them.")
    if record.exists():
        _delete_results(out, originals)


def _delete_results(out: Path, originals: set[Path]) -> None:
    try:
        names = [str(entry["file"]) for entry in read_json(out / FORMATS["json"])["images"]]
    except (UserError, KeyError, TypeError):
        names = []
    drawn = {
        drawn for name in names for drawn in (picture_name(name), *video_names([name]), *video_names([name, name]))
    }
    for name in drawn:
        if is_there(out / name):
            path = (out / name).resolve()
            if path.is_relative_to(out.resolve()) and path not in originals:
                path.unlink()
    for name in (*FORMATS.values(), CROPS):
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _writers(
    detector: Any, model_name: str, sources: Sequence[Source], videos: dict[Source, Video], options: PredictOptions
) -> list[Writer]:
    names = detector.class_names
    header = {
        "checkpoint": model_name,
        "class_names": list(names),
        "score_threshold": by_name(detector.score_threshold, names),
        "calibrated": detector.calibrated,
    }
    makers: dict[str, Callable[[], Writer]] = {
        "csv": lambda: CsvWriter(options.out),
        "coco": lambda: _coco_writer(sources, names, options),
        "yolo": lambda: YoloWriter(options.out, names),
    }
    writers: list[Writer] = [JsonWriter(options.out, header)]
    try:
        writers += [makers[name]() for name in dict.fromkeys(options.formats) if name != "json"]
        if options.pictures:
            fps = {source.name: video.fps / options.every for source, video in videos.items()}
            writers.append(PictureWriter(options.out, fps))
        if options.crops:
            writers.append(CropWriter(options.out))
    except BaseException:
        for writer in writers:
            writer.discard()
        raise
    return writers


def _coco_writer(sources: Sequence[Source], class_names: Sequence[str], options: PredictOptions) -> CocoWriter:
    known = options.annotations
    if known is None:
        return CocoWriter(options.out, None, {name: number for number, name in enumerate(class_names, start=1)})
    category_ids = find_category_ids(class_names, known["categories"])
    return CocoWriter(options.out, find_image_ids(sources, known["images"], options.image_dir), category_ids)


def _frames(
    sources: Sequence[Source], videos: dict[Source, Video], result: Predicted, console: Console
) -> Iterator[Frame]:
    images = [source for source in sources if not source.is_video]
    for source in track(images, "images", console):
        assert source.path is not None
        try:
            pixels = read_pixels(source.path)
        except UnreadableImage as error:
            result.unreadable.append(error.message)
            continue
        yield Frame(source.name, pixels)
    for source, video in videos.items():
        yield from track(video, source.name, console) if video.num_frames else video


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    iterator = iter(frames)
    while batch := list(islice(iterator, size)):
        yield batch


def _only(found: Detections, labels: list[int]) -> Detections:
    kept = np.isin(found.labels, labels)
    return Detections(found.boxes_xyxy[kept], found.scores[kept], found.labels[kept], found.class_names)


"""Which classes a user asks for."""


def choose_labels(text: str, class_names: Sequence[str]) -> list[int]:
    """Labels of class names separated by commas.

    Args:
        text: such as `car, bus`. Class names may contain commas; they need quotation marks only if the text could be
            read in two ways: `"a, b",c`.
        class_names: all classes of the model.

    Raises:
        UserError: a class is unknown, or the text can be read in two ways.
    """
    known = {name.strip(): name for name in class_names}
    parts = [part for part in text.split(",") if part.strip()]
    if not parts:
        raise UserError(f"--classes {text!r} names no class.", f"The model knows: {shortened(class_names)}.")
    readings = list(_readings(text.split(","), known)) or list(_readings(parts, known))
    if not readings:
        name = next((part for part in map(str.strip, parts) if part not in known), text)
        raise UserError(f"The model knows no class {name!r}.", did_you_mean(name, class_names))
    if len(readings) > 1:
        first, second = (" and ".join(map(repr, reading)) for reading in readings[:2])
        raise UserError(
            f"--classes {text!r} may mean {first}, or {second}.",
            """Put a name that holds a comma into quotation marks, as '"a, b",c', and leave no space between names.""",
        )
    return [label for label, name in enumerate(class_names) if name in readings[0]]


def _readings(parts: Sequence[str], known: Mapping[str, str]) -> Iterator[list[str]]:
    """Every way to join neighbouring parts into known names."""
    if not parts:
        yield []
    for count in range(1, len(parts) + 1):
        name = ",".join(parts[:count]).strip()
        is_quoted = len(name) > 2 and name[0] == name[-1] == '"'
        name = known.get(name) or known.get(name[1:-1] if is_quoted else "", "")
        if name:
            yield from ([name, *rest] for rest in _readings(parts[count:], known))
