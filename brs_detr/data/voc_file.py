"""Read one annotation file of a Pascal VOC data set."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from brs_detr.errors import UserError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_CURE = "Mend the file, or take its name out of ImageSets/Main."


@dataclass(frozen=True)
class VocObject:
    """An object as written: corners (xmin, ymin, xmax, ymax) in the file's own pixel counting."""

    name: str
    corners: tuple[float, float, float, float]
    is_difficult: bool


@dataclass(frozen=True)
class VocImage:
    """An annotation file: the size (h, w) it states, None when it states none, and its objects."""

    file: Path
    size: tuple[int, int] | None
    objects: tuple[VocObject, ...]


def read_voc_file(file: Path) -> VocImage:
    """Read a VOC annotation file.

    Args:
        file: XML file with a `size` and any number of `object` elements.

    Returns:
        What it says. Boxes are not judged here.

    Raises:
        UserError: the file is missing, is not XML (with line and column), or an object lacks its name or box.
    """
    try:
        root = ElementTree.parse(file).getroot()
    except OSError as error:
        raise UserError(f"Cannot open the annotation file {file}: {error.strerror}.", _CURE) from None
    except ElementTree.ParseError as error:
        raise UserError(f"{file} is not valid XML: {error}.", _CURE) from None
    objects = tuple(_read_object(file, number, element) for number, element in enumerate(root.findall("object"), 1))
    return VocImage(file, _read_size(root), objects)


def _read_size(root: ElementTree.Element) -> tuple[int, int] | None:
    texts = (root.findtext("size/height"), root.findtext("size/width"))
    height, width = (int(text) if text and text.strip().isdigit() else 0 for text in texts)
    return (height, width) if height and width else None


def _read_object(file: Path, number: int, element: ElementTree.Element) -> VocObject:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise UserError(f"{file}: object {number} has no name.", _CURE)
    corners = [_read_number(file, number, element, key) for key in _CORNERS]
    is_difficult = (element.findtext("difficult") or "0").strip() == "1"
    return VocObject(name, (corners[0], corners[1], corners[2], corners[3]), is_difficult)


def _read_number(file: Path, number: int, element: ElementTree.Element, key: str) -> float:
    text = element.findtext(f"bndbox/{key}")
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{file}: {key} of object {number} is {text!r}, not a number.", _CURE)
    return value
