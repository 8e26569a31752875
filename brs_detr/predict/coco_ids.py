"""Match images and classes to the ids in an annotation file."""

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

    A file in the image folder matches the image that is listed under its path. Any other file matches the image whose
    path has the longest end in common with its own; the file name alone is enough only if it is unique.

    Args:
        sources: images.
        images: entries of a COCO dataset with `id` and `file_name`.
        image_dir: folder that `file_name` is relative to, if known.

    Returns:
        Image ids by the names of the sources.

    Raises:
        UserError: a source matches no image, several images, or the same image as another source.
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
            f"The annotations have no class {', '.join(missing)}, which the model finds; "
            f"they have {shortened(list(known))}.",
            "Give annotations of the dataset that the model was trained on.",
        )
    return {name: known[name] for name in class_names}


def _image_of(
    source: Source, index: Mapping[str, list[Mapping[str, Any]]], image_dir: Path | None
) -> Mapping[str, Any]:
    unknown = UserError(f"The annotations have no image {source.name}.", "Give annotations that list these images.")
    if source.path is None:
        raise unknown
    path = _absolute(source.path)
    parts = _parts(path)
    images = index.get(parts[0], [])
    if image_dir is not None and Path(path).is_relative_to(_absolute(image_dir)):
        best = [image for image in images if _parts(_absolute(image_dir / image["file_name"])) == parts]
    else:
        shared = [len(os.path.commonprefix([_parts(image["file_name"]), parts])) for image in images]
        is_enough = len(images) == 1 or max(shared, default=0) > 1
        best = [image for image, length in zip(images, shared, strict=True) if not is_enough or length == max(shared)]
    if not best:
        raise unknown
    if len(best) > 1:
        listed = shortened([f"{image['file_name']} (image {image['id']})" for image in best])
        raise UserError(
            f"{source.path} may be any of several images in the annotations: {listed}.",
            "Predict on the images in the dataset itself, or put them into folders with the names in the annotations.",
        )
    return best[0]


def _absolute(path: Path) -> str:
    return os.path.normpath(path.absolute())


def _parts(path: str) -> list[str]:
    """Return the parts of a path in Unicode normal form, the last part first."""
    return list(PureWindowsPath(unicodedata.normalize("NFC", path)).parts[::-1])
