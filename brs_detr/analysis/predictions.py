"""Read what a detector found from a file that anybody may have written."""

from __future__ import annotations

import math
import reprlib
from pathlib import Path
from typing import Any

from brs_detr.data.odd_values import is_number
from brs_detr.data.text import read_json
from brs_detr.errors import UserError
from brs_detr.printable import printable

_CURE = "An entry has image_id, category_id, bbox (x, y, w, h) and score, all of them finite numbers."
_MOST = 1e15  # pixels: a box of so many still has a finite area


def read_predictions(file: Path) -> list[dict[str, Any]]:
    """Read COCO results.

    Args:
        file: JSON file with a list of objects that have `image_id`, `category_id`, `bbox` (x, y, w, h) and `score`.

    Returns:
        The list.

    Raises:
        UserError: the file cannot be read, or an entry is none of these; the message names its place from 0.
    """
    entries = read_json(file)
    if not isinstance(entries, list):
        raise UserError(f"{file} holds a JSON {type(entries).__name__}, not a list of detections.", _CURE)
    for place, entry in enumerate(entries):
        if not _is_detection(entry):
            raise UserError(f"{file}: entry {place} is no detection: {printable(reprlib.repr(entry))}.", _CURE)
    return entries


def _is_detection(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    box = entry.get("bbox")
    is_box = isinstance(box, list) and len(box) == 4 and all(map(_is_finite, box))
    are_ids = all(isinstance(entry.get(key), int) and is_number(entry[key]) for key in ("image_id", "category_id"))
    return is_box and are_ids and _is_finite(entry.get("score"))


def _is_finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value) and abs(value) <= _MOST
