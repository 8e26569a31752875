"""Read one annotation file of a Pascal VOC data set."""

from __future__ import annotations

import codecs
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from brs_detr.data.findings import FaultKind
from brs_detr.data.formats.source_faults import BROKEN_LABEL_FILE, BROKEN_OBJECT, NOT_UTF8_FILE, Fault
from brs_detr.data.formats.source_names import class_name
from brs_detr.data.odd_values import MAX_INTEGER
from brs_detr.data.text import MAX_LABEL_BYTES, NotUtf8, content_of, decoded, encoding_of
from brs_detr.errors import UserError
from brs_detr.printable import cut, printable

SWAPPED_CORNERS = FaultKind(
    "box whose xmin is greater than its xmax, or ymin than ymax",
    "Put in order, as a box that was drawn from its lower right. Look whether it is where the object is.",
    "warning",
)

STATED_OUTSIDE = FaultKind(
    "<filename> or <folder> that leads out of the data folder",
    "Not followed: the image is looked for in the data folder, by its name.",
    "note",
)

OTHER_XML = FaultKind("XML file of another kind", "Export it as Pascal VOC, whose root element is <annotation>.")
OTHER_ELEMENTS = FaultKind(
    "object that is not written as Pascal VOC asks",
    "Export the boxes as <object> with <name> and <bndbox>, and in it <xmin>, <ymin>, <xmax> and <ymax>.",
)
REPEATED_ELEMENT = FaultKind(
    "object with an element that occurs twice", "Give each object one name and one box: write an <object> for each."
)

_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]+)["']""")
_UNMARKED = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}  # UTF-16 without a mark, which XML allows
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
        file: XML file with a `size` and any number of `object` elements. Capitals and namespaces do not matter.
        where: what a message calls it.

    Returns:
        What it says and what in it cannot be read. Boxes are not judged here.
    """
    try:
        root = _parse(content_of(file, MAX_LABEL_BYTES), where)
    except OSError as error:
        return _unreadable(where, f"{where}: {error.strerror}")
    except UserError as error:
        kind = NOT_UTF8_FILE if isinstance(error, NotUtf8) else BROKEN_LABEL_FILE
        return _unreadable(where, error.message.rstrip("."), kind)
    file_name, folder, path = ((root.findtext(key) or "").strip() for key in ("filename", "folder", "path"))
    if root.tag != "annotation":
        return _unreadable(where, f"{where}: the root element is <{root.tag}>, not <annotation>", OTHER_XML)
    elements = [(f"{where}, object {n}", n, element) for n, element in enumerate(root.findall("object"), 1)]
    read = [(place, _read_object(element, place, number)) for place, number, element in elements]
    faults = [thing for _, thing in read if isinstance(thing, tuple)]
    faults += _misplaced(root, where)
    faults += [(STATED_OUTSIDE, f"{where}: {text}") for text in (file_name, folder) if _leads_out(text)]
    faults += [(SWAPPED_CORNERS, place) for place, thing in read if isinstance(thing, VocObject) and thing.is_swapped]
    return VocImage(
        where,
        PureWindowsPath(file_name).name,
        (file_name, f"{folder}/{file_name}", path),
        _read_size(root),
        tuple(thing for _, thing in read if isinstance(thing, VocObject)),
        tuple(faults),
    )


def _leads_out(stated: str) -> bool:
    path = PureWindowsPath(stated)
    return bool(path.anchor) or ".." in path.parts


def _parse(raw: bytes, where: str) -> ElementTree.Element:
    """The root element, its tags and those below in lower case and without their namespace."""
    try:
        root = ElementTree.fromstring(_text(raw, where))
    except (ElementTree.ParseError, ValueError) as error:  # the second: a lone surrogate
        raise UserError(f"{where} is not valid XML: {error}") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2].lower()
    return root


def _text(raw: bytes, where: str) -> str:
    """What is written: by the byte order mark, else in UTF-8 where it is that, else as the declaration says."""
    declared = _DECLARED.match(raw)
    encoding = declared[1].decode() if declared else _UNMARKED.get(raw[:2], "utf-8")
    try:
        text = decoded(raw, where)
    except NotUtf8:
        if encoding == "utf-8" or raw.startswith(codecs.BOM_UTF8):
            raise
        return _as_declared(raw, encoding, where)
    if not raw.isascii() and not raw.startswith(codecs.BOM_UTF8) and encoding_of(raw) == "utf-8":
        _refuse_two_readings(raw, encoding, where)
    return text


def _as_declared(raw: bytes, encoding: str, where: str) -> str:
    try:
        return raw.decode(encoding)
    except LookupError:
        raise UserError(f"{where} is not valid XML: unknown encoding: {encoding}") from None
    except UnicodeError:
        raise NotUtf8(f"{where} is not text in {encoding}, as it declares.") from None


def _refuse_two_readings(raw: bytes, encoding: str, where: str) -> None:
    """Refuse UTF-8 that is text as well in a declared encoding of several bytes a letter.

    In one of a byte a letter everything is text, while hardly any text in it is UTF-8 by chance.
    """
    try:
        other = raw.decode(encoding)
    except (LookupError, UnicodeError):
        return
    if len(other) < len(raw) and other != raw.decode():
        raise NotUtf8(f"{where} declares {encoding}, and may be UTF-8 as well: save it as UTF-8, and declare that.")


def _unreadable(where: str, reason: str, kind: FaultKind = BROKEN_LABEL_FILE) -> VocImage:
    return VocImage(where, faults=((kind, reason),), is_readable=False)


def _read_size(root: ElementTree.Element) -> tuple[int, int] | None:
    height, width = (_length(root.findtext(f"size/{key}") or "") for key in ("height", "width"))
    return (height, width) if height and width else None


def _length(text: str) -> int:
    """Pixels, 0 where none are stated, and the largest number that there is for a larger one, which no image has."""
    digits = text.strip()
    if not digits.isdecimal():
        return 0
    return min(int(digits), MAX_INTEGER) if len(digits) <= len(str(MAX_INTEGER)) else MAX_INTEGER


def _misplaced(root: ElementTree.Element, where: str) -> Iterator[Fault]:
    """Boxes that belong to no `object` right below the root."""
    num_found = sum(len(list(element.iter("bndbox"))) for element in root.findall("object"))
    num_lost = len(list(root.iter("bndbox"))) - num_found
    if num_lost:
        yield OTHER_ELEMENTS, f"{where}: {num_lost} <bndbox> in no <object> of <annotation>, which has {_tags(root)}"


def _tags(element: ElementTree.Element) -> str:
    return ", ".join(f"<{tag}>" for tag in dict.fromkeys(child.tag for child in element)) or "nothing"


def _shape_fault(element: ElementTree.Element, where: str) -> Fault | None:
    """Elements of an object that are missing or repeated."""
    for key in ("name", "bndbox", *(f"bndbox/{key}" for key in _CORNERS)):
        places = element.findall(key)
        if len(places) > 1:
            return REPEATED_ELEMENT, f"{where}: {len(places)} <{places[0].tag}>"
    box = element.find("bndbox")
    if box is None:
        return OTHER_ELEMENTS, f"{where}: no <bndbox>, but {_tags(element)}"
    missing = next((key for key in _CORNERS if box.find(key) is None), None)
    return None if missing is None else (OTHER_ELEMENTS, f"{where}: no <{missing}> in <bndbox>, but {_tags(box)}")


def _read_object(element: ElementTree.Element, where: str, number: int) -> VocObject | Fault:
    """The object, or what is wrong with it."""
    name = class_name(element.findtext("name") or "")
    if not name:
        return BROKEN_OBJECT, f"{where} has no name"
    fault = _shape_fault(element, where)
    if fault is not None:
        return fault
    texts = {key: element.findtext(f"bndbox/{key}") for key in _CORNERS}
    corners = tuple(_numbers(texts.values()))
    for (key, text), corner in zip(texts.items(), corners, strict=True):
        if not math.isfinite(corner):
            return BROKEN_OBJECT, f"{where}: {key} is {cut(printable(text or ''), 40)!r}, not a number"
    is_difficult = (element.findtext("difficult") or "0").strip() == "1"
    (x1, x2), (y1, y2) = sorted(corners[::2]), sorted(corners[1::2])
    return VocObject(name, (x1, y1, x2, y2), is_difficult, number, (x1, y1, x2, y2) != corners)


def _numbers(texts: Iterable[str | None]) -> Iterator[float]:
    for text in texts:
        try:
            yield float(text or "")
        except ValueError:
            yield math.nan
