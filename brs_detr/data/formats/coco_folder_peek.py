"""Look into a COCO annotation file, which may be large, without parsing it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from brs_detr.data.annotations import SECTIONS
from brs_detr.data.formats.source_files import is_there
from brs_detr.data.text import encoding_of

_CHUNK = 1 << 20  # characters
_OVERLAP = 1 << 12
_FILE_NAME = re.compile(r'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')


def looks_like_coco(file: Path) -> bool:
    """Whether a file has the keys of a COCO annotation file; it may still be broken."""
    missing = {f'"{section}"' for section in SECTIONS}
    for chunk in _chunks(file):
        missing = {key for key in missing if key not in chunk}
        if not missing:
            return True
    return False


def first_image_names(file: Path, limit: int = 5) -> list[str]:
    """The first `file_name`s of an annotation file, none where it has none or is broken."""
    for chunk in _chunks(file):
        found = _FILE_NAME.findall(chunk)
        if found:
            return list(_decoded(found[:limit]))
    return []


def _decoded(texts: list[str]) -> Iterator[str]:
    for text in texts:
        try:
            yield json.loads(text)
        except ValueError:  # broken escapes: reading the file says so
            continue


def _chunks(file: Path) -> Iterator[str]:
    """The file in pieces, each with the end of the one before."""
    if not is_there(file):
        return
    try:
        with file.open("rb") as stream:
            encoding = encoding_of(stream.read(2))
        with file.open(encoding=encoding, errors="replace") as stream:
            before = ""
            while piece := stream.read(_CHUNK):
                yield before + piece
                before = piece[-_OVERLAP:]
    except (OSError, UnicodeError):  # reading the file says what is wrong with it
        return
