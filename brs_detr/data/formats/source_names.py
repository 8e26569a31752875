"""Class names as people write them: categories made of them, and what is odd about them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from brs_detr.data.findings import FaultKind
from brs_detr.data.formats.source_faults import Fault
from brs_detr.data.odd_values import is_text
from brs_detr.printable import cut, printable

MAX_NAME = 1000
"""Characters of a class name."""

ODD_NAME = FaultKind(
    "class name that cannot be written",
    f"Give the class a name of at most {MAX_NAME:,} characters, each of them whole in UTF-8.",
)
EMPTY_NAME = FaultKind("class without a name", "Give every class a name.")
SIMILAR_NAMES = FaultKind(
    "class names that differ only in capitals, spaces, - or _",
    "Taken as different classes. Give them one name if they mean the same.",
    "warning",
)


def class_name(text: str) -> str:
    """A class name as it is kept: in Unicode normal form C, without space around it."""
    return unicodedata.normalize("NFC", text).strip()


def make_categories(names: Mapping[int, str]) -> list[dict[str, Any]]:
    """COCO categories of classes that are numbered from 0: their ids are one higher, so that they begin with 1.

    Args:
        names: class name by number; numbers may have gaps.
    """
    return [{"id": number + 1, "name": names[number]} for number in sorted(names)]


def name_faults(names: Iterable[str], where: str) -> Iterator[Fault]:
    """What is odd about the class names of a data set. Equal names are left to the check of categories.

    Args:
        names: all class names.
        where: file that says them, for the message.
    """
    spellings: dict[str, list[str]] = {}
    for place, name in enumerate(names, start=1):
        if not name.strip():
            yield EMPTY_NAME, f"{where}, class {place} of the list"
        elif len(name) > MAX_NAME or not is_text(name):
            yield ODD_NAME, f"{where}, class {place} of the list: {cut(printable(name), 80)!r}"
        elif name not in spellings.setdefault(_folded(name), []):
            spellings[_folded(name)].append(name)
    for similar in spellings.values():
        if len(similar) > 1:
            yield SIMILAR_NAMES, f"{where}: {', '.join(map(repr, similar))}"


def _folded(name: str) -> str:
    """What two spellings of one word have in common."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").replace("-", " ").split())
