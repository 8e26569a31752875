"""Kinds of faults that only a reader can see, because they have no place in a COCO object."""

from __future__ import annotations

from collections.abc import Iterable

from brs_detr.data.findings import FaultKind, Finding

Fault = tuple[FaultKind, str]
"""A kind of fault and a text that says where it is."""

BROKEN_LABEL_FILE = FaultKind(
    "annotation file that cannot be read", "Mend or export the file again, or take its image out of the data set."
)
NOT_UTF8_FILE = FaultKind("annotation file that is not text in UTF-8", "Save the file as UTF-8.")
BROKEN_OBJECT = FaultKind("object that cannot be read", "Mend or delete these lines or elements.")
MISSING_LABEL_FILE = FaultKind(
    "missing annotation file", "Put the file there, or take its name out of the list of the split."
)
LABEL_WITHOUT_IMAGE = FaultKind(
    "annotation file without an image",
    "Left out. Put the image there under the same name, or delete the file.",
    "warning",
)
UNREAD_SUFFIX = FaultKind(
    "annotated image of a kind that is not read",
    "Left out. Save the image as JPEG or PNG, under the same name.",
    "warning",
)
UNANNOTATED_IMAGE = FaultKind(
    "image without an annotation file",
    "Left out. Annotate it, or give it an annotation file without objects when nothing is to be found in it.",
    "warning",
)
OUTSIDE_OF_SPLITS = FaultKind(
    "file in none of the splits", "Left out. Move it into train, val or test if it should be used.", "warning"
)
MISSING_SPLIT = FaultKind(
    "split that is named and not there", "Left out. Put its images there, or take its name out.", "note"
)


def findings_of(faults: Iterable[Fault]) -> tuple[Finding, ...]:
    """Gather faults by kind, kinds in the order in which they first occur."""
    examples: dict[FaultKind, list[str]] = {}
    for kind, example in faults:
        examples.setdefault(kind, []).append(example)
    return tuple(Finding.of(kind, texts) for kind, texts in examples.items())
