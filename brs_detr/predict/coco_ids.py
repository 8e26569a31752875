"""Which image and category ids of an annotation file predictions are given."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from brs_detr.errors import UserError, shortened
from brs_detr.predict.sources import Source


def find_image_ids(
    sources: Sequence[Source], images: Sequence[Mapping[str, Any]], image_dir: Path | None
) -> dict[str, Any]:
    """Find the image id of each source.

    A file in the image folder is the image that is listed under its path. Any other is the image whose path ends most
    like its own; the file name alone is enough only where no other image has it.

    Args:
        sources: images.
        images: entries of a COCO object with `id` and `file_name`.
        image_dir: what `file_name` is relative to, where that is known.

    Returns:
        Ids by the names of the sources.

    Raises:
        UserError: an image is unknown, may be one of several, or is the same as another one.
    """
    index: dict[str, list[Mapping[str, Any]]] = {}
    for image in images:
        index.setdefault(_parts(image["file_name"])[0], []).append(image)
    ids: dict[str, Any] = {}
    owners: dict[Any, Source] = {}
    for source in sources:
        image = _image_of(source, index, image_dir)
        first = owners.setdefault(image["id"], source)
        if first is not source:
            raise UserError(
                f"{first.name} and {source.name} would both be image {image['id']} ({image['file_name']}).",
                "Predict on one of them, or give annotations that list both.",
            )
        ids[source.name] = image["id"]
    return ids


def find_category_ids(class_names: Sequence[str], categories: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Find the category id of each class by its name.

    Raises:
        UserError: a class is unknown.
    """
    known = {category["name"]: category["id"] for category in categories}
    missing = sorted(set(class_names) - set(known))
    if missing:
        raise UserError(
            f"The annotations know no class {', '.join(missing)}, which the model finds; "
            f"they know {shortened(list(known))}.",
            "Give annotations of the data set that the model was trained on.",
        )
    return {name: known[name] for name in class_names}


def _image_of(
    source: Source, index: Mapping[str, list[Mapping[str, Any]]], image_dir: Path | None
) -> Mapping[str, Any]:
    unknown = UserError(f"The annotations know no image {source.name}.", "Give annotations that list these images.")
    if source.path is None:
        raise unknown
    path = _absolute(source.path)
    stated = _parts(path)
    images = index.get(stated[0], [])
    if image_dir is not None and Path(path).is_relative_to(_absolute(image_dir)):
        best = [image for image in images if _parts(_absolute(image_dir / image["file_name"])) == stated]
    else:
        shared = [len(os.path.commonprefix([_parts(image["file_name"]), stated])) for image in images]
        is_enough = len(images) == 1 or max(shared, default=0) > 1
        best = [image for image, length in zip(images, shared, strict=True) if not is_enough or length == max(shared)]
    if not best:
        raise unknown
    if len(best) > 1:
        listed = shortened([f"{image['file_name']} (image {image['id']})" for image in best])
        raise UserError(
            f"{source.path} may be any of several images of the annotations: {listed}.",
            "Predict on the images where the data set has them, or put them into folders as the annotations name them.",
        )
    return best[0]


def _absolute(path: Path) -> str:
    return os.path.normpath(path.absolute())


def _parts(path: str) -> list[str]:
    """The parts of a path in one Unicode normal form, the last first."""
    return list(PureWindowsPath(unicodedata.normalize("NFC", path)).parts[::-1])
