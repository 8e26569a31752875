"""Read, detect, write: one batch after the other, so that memory does not grow with the number of images."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from brs_detr.data.formats.source_files import is_there
from brs_detr.data.images import read_header
from brs_detr.data.text import read_json
from brs_detr.errors import UserError
from brs_detr.predict.class_choice import choose_labels
from brs_detr.predict.coco_ids import find_category_ids, find_image_ids
from brs_detr.predict.frame import Frame, Writer
from brs_detr.predict.pictures import CROPS, CropWriter, PictureWriter, picture_name, video_names
from brs_detr.predict.sources import Source
from brs_detr.predict.video import Video
from brs_detr.predict.writers import FORMATS, CocoWriter, CsvWriter, JsonWriter, YoloWriter
from brs_detr.run.bars import track
from brs_detr.runtime.calibration import by_name
from brs_detr.runtime.detections import Detections
from brs_detr.runtime.images import UnreadableImage, read_pixels


@dataclass(frozen=True)
class PredictOptions:
    """What to read and write.

    Args:
        out: folder of everything that is written.
        formats: keys of `brs_detr.predict.writers.FORMATS`; JSON is always written.
        pictures: draw what was found.
        crops: cut it out.
        batch_size: images that are read and detected together.
        classes: names to keep with commas between them, see `brs_detr.predict.class_choice`; all by default.
        annotations: COCO object that names images and categories of the COCO results.
        image_dir: what its file names are relative to, where that is known.
        most_frames: of a video or camera; None for all.
        every: take one frame of a video of so many.
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
        num_frames: images, and frames of videos, that were detected on.
        num_objects: found.
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
        model_name: for the record.
        sources: from `brs_detr.predict.sources.find_sources`; headers of images were read by `require_readable`.
        options: what to write.
        console: where progress is shown.

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
    """Refuse what is no image, by its header, before any work is done.

    Returns:
        Names of images with several pages or frames, of which the first is looked at.

    Raises:
        UnreadableImage: the first that cannot be read.
    """
    images = [source for source in sources if source.path is not None and not source.is_video]
    return [source.name for source in images if source.path is not None and read_header(source.path).has_more]


def require_room(sources: Sequence[Source], out: Path, overwrite: bool, pictures: bool = True) -> None:
    """Refuse to mix new results with old ones, or to draw over an original.

    Args:
        sources: what is detected on.
        out: folder of the results; of an earlier run there, everything that it wrote is deleted if `overwrite`.
        overwrite: delete it.
        pictures: whether the sources will be drawn.

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
            writers.append(_Pictures(options.out, videos, options.every))
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


class _Pictures:
    """A `PictureWriter` for the images, and one for each video."""

    def __init__(self, out: Path, videos: dict[Source, Video], every: int) -> None:
        self._images = PictureWriter(out)
        names = dict(zip(videos, video_names([source.name for source in videos]), strict=True))
        self._videos = {
            source.name: PictureWriter(out, video.fps / every, names[source]) for source, video in videos.items()
        }

    def add(self, frame: Frame, found: Detections) -> None:
        """Draw one frame."""
        (self._images if frame.index is None else self._videos[frame.name]).add(frame, found)

    def close(self) -> None:
        """Finish the videos."""
        for writer in self._videos.values():
            writer.close()

    def discard(self) -> None:
        """Leave no unfinished video behind."""
        for writer in self._videos.values():
            writer.discard()


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
        yield from track(_Counted(video), source.name, console) if video.num_frames else video


class _Counted:
    """A video with a length, for a bar."""

    def __init__(self, video: Video) -> None:
        self._video = video

    def __len__(self) -> int:
        return self._video.num_frames or 0

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._video)


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    iterator = iter(frames)
    while batch := list(islice(iterator, size)):
        yield batch


def _only(found: Detections, labels: list[int]) -> Detections:
    kept = np.isin(found.labels, labels)
    return Detections(found.boxes_xyxy[kept], found.scores[kept], found.labels[kept], found.class_names)
