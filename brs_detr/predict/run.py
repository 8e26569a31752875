"""Read images, detect objects and write them, batch by batch, so that memory does not grow with their number."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from itertools import chain, islice
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
    Write,
    coco_writer,
    crop_writer,
    csv_writer,
    drawing_writer,
    drawn_image_name,
    drawn_video_names,
    json_writer,
    yolo_writer,
)
from brs_detr.run.console import track
from brs_detr.runtime.calibration import by_name
from brs_detr.runtime.images import UnreadableImage, read_pixels


@dataclass(frozen=True)
class PredictOptions:
    """What to read and write.

    Args:
        out: folder for all results.
        formats: keys of `brs_detr.predict.writers.FORMATS`; JSON is always written.
        pictures: draw the objects on the images.
        crops: cut the objects out.
        batch_size: number of images per batch.
        classes: names of the classes to keep, separated by commas (see `choose_labels`); None for all.
        annotations: COCO dataset with the image and category ids for the COCO results.
        image_dir: folder that the file names in `annotations` are relative to, if known.
        most_frames: number of frames of a video or camera; None for all.
        every: use one of this many frames.
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
    """Summary of a run.

    Args:
        num_frames: number of images and video frames.
        num_objects: number of detected objects.
        unreadable: for each image that could not be decoded, what is wrong.
    """

    num_frames: int = 0
    num_objects: int = 0
    unreadable: list[str] = field(default_factory=list)


def predict(
    detector: Any, model_name: str, sources: Sequence[Source], options: PredictOptions, console: Console
) -> Predicted:
    """Detect the objects in all sources and write them.

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
    with ExitStack() as stack:
        writes = [stack.enter_context(writer) for writer in writers]
        try:
            for batch in _batches(_frames(sources, videos, result, console), options.batch_size):
                for frame, found in zip(batch, detector([frame.pixels for frame in batch]), strict=True):
                    kept = found if kept_labels is None else found.select(np.isin(found.labels, kept_labels))
                    for write in writes:
                        write(frame, kept)
                    result.num_frames += 1
                    result.num_objects += len(kept)
        except KeyboardInterrupt:  # this is how a camera is stopped: keep what was found
            if not result.num_frames:
                raise
        if not result.num_frames:
            raise UserError("No image could be decoded: " + " ".join(result.unreadable))
    return result


def require_readable(sources: Sequence[Source]) -> list[str]:
    """Check the headers of all images before any work is done.

    Returns:
        The names of images with several pages or frames, of which only the first is used.

    Raises:
        UnreadableImage: a header cannot be read.
    """
    images = [source for source in sources if source.path is not None and not source.is_video]
    return [source.name for source in images if source.path is not None and read_header(source.path).has_more]


def require_room(sources: Sequence[Source], out: Path, overwrite: bool, pictures: bool = True) -> None:
    """Check that new results replace no original and are not mixed with earlier results.

    Args:
        sources: images and videos to detect objects in.
        out: folder for the results.
        overwrite: delete the results of an earlier run.
        pictures: whether the objects will be drawn.

    Raises:
        UserError: `out` is a file or holds earlier results, or a drawn image would replace an original or another one.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file, not a folder.", "Choose another --out DIR.")
    record = out / FORMATS["json"]
    if record.exists() and not overwrite:
        raise UserError(f"{out} already holds predictions.", "Add --overwrite, or write elsewhere with --out DIR.")
    originals = {source.path.resolve() for source in sources if source.path is not None}
    drawn: dict[str, Source] = {}
    for source in sources if pictures else ():
        name = drawn_image_name(source.name)
        if (out / name).resolve() in originals:
            raise UserError(f"The drawn image would replace the original {out / name}.", "Choose another --out DIR.")
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
    drawn = ((drawn_image_name(name), *drawn_video_names([name]), *drawn_video_names([name, name])) for name in names)
    for name in set(chain.from_iterable(drawn)):
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
) -> list[AbstractContextManager[Write]]:
    class_names = detector.class_names
    header = {
        "checkpoint": model_name,
        "class_names": list(class_names),
        "score_threshold": by_name(detector.score_threshold, class_names),
        "calibrated": detector.calibrated,
    }
    writers: list[AbstractContextManager[Write]] = [json_writer(options.out, header)]
    if "csv" in options.formats:
        writers.append(csv_writer(options.out))
    if "coco" in options.formats:
        image_ids: dict[str, Any] | None = None
        category_ids: dict[str, Any] = {name: number for number, name in enumerate(class_names, start=1)}
        if options.annotations is not None:
            category_ids = find_category_ids(class_names, options.annotations["categories"])
            image_ids = find_image_ids(sources, options.annotations["images"], options.image_dir)
        writers.append(coco_writer(options.out, image_ids, category_ids))
    if "yolo" in options.formats:
        writers.append(yolo_writer(options.out, class_names))
    if options.pictures:
        fps = {source.name: video.fps / options.every for source, video in videos.items()}
        writers.append(drawing_writer(options.out, fps))
    if options.crops:
        writers.append(crop_writer(options.out))
    return writers


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


def choose_labels(text: str, class_names: Sequence[str]) -> list[int]:
    """Return the labels of classes that are named in a comma-separated list.

    Args:
        text: such as `car, bus`. A class name that contains a comma needs quotation marks only if the text is
            ambiguous: `"a, b",c`.
        class_names: names of all classes of the model.

    Raises:
        UserError: a class is unknown, or the text is ambiguous.
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
            """Quote a name that contains a comma, as in '"a, b",c', and put no space between names.""",
        )
    return [label for label, name in enumerate(class_names) if name in readings[0]]


def _readings(parts: Sequence[str], known: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield every way to join neighbouring parts into known names."""
    if not parts:
        yield []
    for count in range(1, len(parts) + 1):
        name = ",".join(parts[:count]).strip()
        is_quoted = len(name) > 2 and name[0] == name[-1] == '"'
        name = known.get(name) or known.get(name[1:-1] if is_quoted else "", "")
        if name:
            yield from ([name, *rest] for rest in _readings(parts[count:], known))
