"""Read one annotation file of a Pascal VOC data set."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from brs_detr.data.findings import FaultKind
from brs_detr.data.formats.source_faults import BROKEN_LABEL_FILE, BROKEN_OBJECT, Fault
from brs_detr.data.formats.source_names import class_name
from brs_detr.data.text import decoded, encoding_of
from brs_detr.errors import UserError

SWAPPED_CORNERS = FaultKind(
    "box whose xmin is greater than its xmax, or ymin than ymax",
    "Put in order, as a box that was drawn from its lower right. Look whether it is where the object is.",
    "warning",
)

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocObject:
    """An object: corners (xmin, ymin, xmax, ymax) in order, in the file's own pixel counting.

    Args:
        number: its place among the objects of the file, from 1.
        is_swapped: whether the file has a corner where the opposite one belongs.
    """

    name: str
    corners: tuple[float, float, float, float]
    is_difficult: bool
    number: int
    is_swapped: bool = False


@dataclass(frozen=True)
class VocImage:
    """An annotation file.

    Args:
        where: what a message calls the file.
        image_name: file name that it states for the image, without folders; empty when it states none.
        image_paths: what it says of the folders of the image, the most reliable first.
        size: the size (h, w) that it states, None when it states none.
        objects: those that could be read.
        faults: what could not be read.
        is_readable: whether the file is XML at all.
    """

    where: str
    image_name: str = ""
    image_paths: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    objects: tuple[VocObject, ...] = ()
    faults: tuple[Fault, ...] = ()
    is_readable: bool = True


def read_voc_file(file: Path, where: str) -> VocImage:
    """Read a VOC annotation file.

    Args:
        file: XML file with a `size` and any number of `object` elements.
        where: what a message calls it.

    Returns:
        What it says and what in it cannot be read. Boxes are not judged here.
    """
    try:
        root = _parse(file.read_bytes(), where)
    except OSError as error:
        return _unreadable(where, f"{where}: {error.strerror}")
    except UserError as error:
        return _unreadable(where, error.message.rstrip("."))
    file_name, folder, path = ((root.findtext(key) or "").strip() for key in ("filename", "folder", "path"))
    elements = [(f"{where}, object {n}", n, element) for n, element in enumerate(root.findall("object"), 1)]
    read = [(place, _read_object(element, place, number)) for place, number, element in elements]
    faults = [(BROKEN_OBJECT, thing) for _, thing in read if isinstance(thing, str)]
    faults += [(SWAPPED_CORNERS, place) for place, thing in read if isinstance(thing, VocObject) and thing.is_swapped]
    return VocImage(
        where,
        PureWindowsPath(file_name).name,
        (file_name, f"{folder}/{file_name}", path),
        _read_size(root),
        tuple(thing for _, thing in read if isinstance(thing, VocObject)),
        tuple(faults),
    )


def _parse(raw: bytes, where: str) -> ElementTree.Element:
    """The root element: in the encoding that the declaration states, else in UTF-8 or in UTF-16 with its mark."""
    try:
        return ElementTree.fromstring(decoded(raw, where) if encoding_of(raw) == "utf-16" else raw)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: an unknown encoding
        decoded(raw, where)  # where it is not UTF-8, that is the reason
        raise UserError(f"{where} is not valid XML: {error}") from None


def _unreadable(where: str, reason: str) -> VocImage:
    return VocImage(where, faults=((BROKEN_LABEL_FILE, reason),), is_readable=False)


def _read_size(root: ElementTree.Element) -> tuple[int, int] | None:
    texts = (root.findtext("size/height"), root.findtext("size/width"))
    height, width = (int(text) if text and text.strip().isdecimal() else 0 for text in texts)
    return (height, width) if height and width else None


def _read_object(element: ElementTree.Element, where: str, number: int) -> VocObject | str:
    """The object, or what is wrong with it."""
    name = class_name(element.findtext("name") or "")
    if not name:
        return f"{where} has no name"
    texts = {key: element.findtext(f"bndbox/{key}") for key in _CORNERS}
    corners = tuple(_numbers(texts.values()))
    for (key, text), corner in zip(texts.items(), corners, strict=True):
        if not math.isfinite(corner):
            return f"{where}: {key} is {text!r}, not a number"
    is_difficult = (element.findtext("difficult") or "0").strip() == "1"
    (x1, x2), (y1, y2) = sorted(corners[::2]), sorted(corners[1::2])
    return VocObject(name, (x1, y1, x2, y2), is_difficult, number, (x1, y1, x2, y2) != corners)


def _numbers(texts: Iterable[str | None]) -> Iterator[float]:
    for text in texts:
        try:
            yield float(text or "")
        except ValueError:
            yield math.nan
