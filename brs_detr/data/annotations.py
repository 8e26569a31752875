"""Read and write COCO annotation files."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brs_detr.data.text import read_json, without_odd_values
from brs_detr.errors import UserError, shortened

SECTIONS = ("images", "annotations", "categories")


def read_annotations(file: str | Path) -> dict[str, Any]:
    """Load a COCO annotation file.

    Args:
        file: JSON object with the lists `images`, `annotations` and `categories`.

    Returns:
        The object, its entries unchecked (see `brs_detr.data.checks`). Category names are in Unicode normal form C.
        Images of LVIS get the `file_name` at the end of their `coco_url`, such as `train2017/000000391895.jpg`.

    Raises:
        UserError: the file is missing, is not JSON (names line and column), or lacks one of the three lists.
    """
    dataset = read_json(Path(file))
    cure = "A COCO detection file is an object with the lists images, annotations and categories."
    if not isinstance(dataset, dict):
        raise UserError(f"{file} holds a JSON {type(dataset).__name__}, not an object.", cure)
    missing = [key for key in SECTIONS if not isinstance(dataset.get(key), list)]
    if missing:
        raise UserError(f"{file} has no list {', '.join(map(repr, missing))}.", cure)
    for image in dataset["images"]:
        if isinstance(image, dict) and "file_name" not in image and isinstance(image.get("coco_url"), str):
            image["file_name"] = "/".join(image["coco_url"].split("/")[-2:])
    for category in dataset["categories"]:
        if isinstance(category, dict) and isinstance(name := category.get("name"), str):
            category["name"] = unicodedata.normalize("NFC", name)
    return dataset


def write_annotations(file: Path, dataset: Mapping[str, Any]) -> None:
    """Write a COCO annotation file as valid JSON in UTF-8; the same data give the same bytes.

    Args:
        file: target; its folder is created if needed.
        dataset: object to write. What JSON cannot hold becomes null, see `without_odd_values`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        content = _as_json(dataset).encode()
    except (ValueError, RecursionError):
        content = _as_json(without_odd_values(dataset)).encode(errors="backslashreplace")  # as JSON escapes them
    file.write_bytes(content)


def _as_json(dataset: Mapping[str, Any]) -> str:
    return json.dumps(dataset, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def read_class_names(file: str | Path) -> list[str]:
    """Read the class names of an annotation file, in the order of their category ids, which may have gaps.

    Returns:
        At least one name; the index of a name is its label.

    Raises:
        UserError: the file cannot be read, has no category, or has two of one name.
    """
    return class_names_of(read_annotations(file), file)


def class_names_of(dataset: Mapping[str, Any], file: str | Path) -> list[str]:
    """Class names of a COCO object as `read_class_names` gives them; `file` is its name in messages."""
    try:
        names = [str(entry["name"]) for entry in sorted(dataset["categories"], key=lambda category: category["id"])]
    except (KeyError, TypeError):
        raise UserError(
            f"A category in {file} lacks 'id' or 'name'.", "Give each category a number and a name."
        ) from None
    if not names:
        raise UserError(f"{file} has an empty list of categories.", "Name at least one class in it.")
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise UserError(f"{file} has more than one category called {shortened(twice)}.", "Give each class one name.")
    return names
