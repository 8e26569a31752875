"""Read one annotation file of a Pascal VOC dataset."""

from __future__ import annotations

import codecs
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from brs_detr.data import kinds
from brs_detr.data.findings import Fault
from brs_detr.data.formats.layout import class_name, read_label
from brs_detr.data.text import MAX_INTEGER, NotUtf8, decoded, encoding_of
from brs_detr.errors import UserError
from brs_detr.printable import cut, printable

_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]+)["']""")
_UNMARKED = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}  # UTF-16 without a mark, which XML allows
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocObject(NamedTuple):
    """An object.

    Args:
        name: of its class.
        corners: (xmin, ymin, xmax, ymax) in order, in the file's own pixel counting.
        is_difficult: as stated.
        number: its number among the objects of the file, from 1.
        is_swapped: whether the file has a corner in place of the opposite one.
    """

    name: str
    corners: tuple[float, float, float, float]
    is_difficult: bool
    number: int
    is_swapped: bool = False


class VocImage(NamedTuple):
    """An annotation file.

    Args:
        where: its name in messages.
        image_name: stated file name of the image, without folders; empty where there is none.
        image_paths: stated paths of the image, the most reliable first.
        size: stated size (h, w), None where there is none.
        objects: those that can be read.
        faults: what cannot be read.
        is_readable: whether the file is a VOC annotation at all.
    """

    where: str
    image_name: str = ""
    image_paths: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    objects: tuple[VocObject, ...] = ()
    faults: tuple[Fault, ...] = ()
    is_readable: bool = True


def read_voc_file(file: Path, where: str) -> VocImage:
    """Read a VOC annotation file. Boxes are not judged.

    Args:
        file: XML file with a `size` and any number of `object` elements. Capitals and namespaces do not matter.
        where: its name in messages.
    """
    root = read_label(file, where, _parse)
    if not isinstance(root, tuple) and root.tag != "annotation":
        root = kinds.OTHER_XML, f"{where}: the root element is <{root.tag}>, not <annotation>"
    if isinstance(root, tuple):
        return VocImage(where, faults=(root,), is_readable=False)
    file_name, folder, path = ((root.findtext(key) or "").strip() for key in ("filename", "folder", "path"))
    read = [_read_object(element, f"{where}, object {n}", n) for n, element in enumerate(root.findall("object"), 1)]
    objects = tuple(thing for thing in read if isinstance(thing, VocObject))
    faults = [
        *(fault for fault in read if not isinstance(fault, VocObject)),
        *_misplaced(root, where),
        *((kinds.STATED_OUTSIDE, f"{where}: {text}") for text in (file_name, folder) if _leads_out(text)),
        *((kinds.SWAPPED_CORNERS, f"{where}, object {thing.number}") for thing in objects if thing.is_swapped),
    ]
    height, width = (_length(root.findtext(f"size/{key}") or "") for key in ("height", "width"))
    return VocImage(
        where,
        PureWindowsPath(file_name).name,
        (file_name, f"{folder}/{file_name}", path),
        (height, width) if height and width else None,
        objects,
        tuple(faults),
    )


def _leads_out(stated: str) -> bool:
    path = PureWindowsPath(stated)
    return bool(path.anchor) or ".." in path.parts


def _parse(raw: bytes, where: str) -> ElementTree.Element:
    """The root element, all tags in lower case and without their namespace."""
    try:
        root = ElementTree.fromstring(_text(raw, where))
    except (ElementTree.ParseError, ValueError) as error:  # the second: a lone surrogate
        raise UserError(f"{where} is not valid XML: {error}") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2].lower()
    return root


def _text(raw: bytes, where: str) -> str:
    """Decode by the byte order mark, otherwise as UTF-8 where it is that, otherwise as the file declares."""
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
    """Refuse UTF-8 that is also text in the declared encoding, where that has several bytes a letter.

    In encodings of one byte a letter everything is text, while hardly any text in them is UTF-8 by chance.
    """
    try:
        other = raw.decode(encoding)
    except (LookupError, UnicodeError):
        return
    if len(other) < len(raw) and other != raw.decode():
        raise NotUtf8(f"{where} declares {encoding}, and may be UTF-8 as well: save it as UTF-8, and declare that.")


def _length(text: str) -> int:
    digits = text.strip()
    if not digits.isdecimal():
        return 0
    return min(int(digits), MAX_INTEGER) if len(digits) <= len(str(MAX_INTEGER)) else MAX_INTEGER


def _misplaced(root: ElementTree.Element, where: str) -> Iterator[Fault]:
    num_found = sum(len(list(element.iter("bndbox"))) for element in root.findall("object"))
    num_lost = len(list(root.iter("bndbox"))) - num_found
    if num_lost:
        yield (
            kinds.OTHER_ELEMENTS,
            f"{where}: {num_lost} <bndbox> in no <object> of <annotation>, which has {_tags(root)}",
        )


def _tags(element: ElementTree.Element) -> str:
    return ", ".join(f"<{tag}>" for tag in dict.fromkeys(child.tag for child in element)) or "nothing"


def _shape_fault(element: ElementTree.Element, where: str) -> Fault | None:
    for key in ("name", "bndbox", *(f"bndbox/{key}" for key in _CORNERS)):
        places = element.findall(key)
        if len(places) > 1:
            return kinds.REPEATED_ELEMENT, f"{where}: {len(places)} <{places[0].tag}>"
    box = element.find("bndbox")
    if box is None:
        return kinds.OTHER_ELEMENTS, f"{where}: no <bndbox>, but {_tags(element)}"
    missing = next((key for key in _CORNERS if box.find(key) is None), None)
    return None if missing is None else (kinds.OTHER_ELEMENTS, f"{where}: no <{missing}> in <bndbox>, but {_tags(box)}")


def _read_object(element: ElementTree.Element, where: str, number: int) -> VocObject | Fault:
    name = class_name(element.findtext("name") or "")
    if not name:
        return kinds.BROKEN_OBJECT, f"{where} has no name"
    fault = _shape_fault(element, where)
    if fault is not None:
        return fault
    texts = [element.findtext(f"bndbox/{key}") for key in _CORNERS]
    xmin, ymin, xmax, ymax = corners = [_number(text) for text in texts]
    for key, text, corner in zip(_CORNERS, texts, corners, strict=True):
        if not math.isfinite(corner):
            return kinds.BROKEN_OBJECT, f"{where}: {key} is {cut(printable(text or ''), 40)!r}, not a number"
    is_difficult = (element.findtext("difficult") or "0").strip() == "1"
    (x1, x2), (y1, y2) = sorted((xmin, xmax)), sorted((ymin, ymax))
    return VocObject(name, (x1, y1, x2, y2), is_difficult, number, xmin > xmax or ymin > ymax)


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan
