"""What is wrong with a data set, counted, with examples and a cure for each kind of fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from brs_detr.data.bounds import MAX_BOXES, MAX_CLASSES
from brs_detr.errors import UserError
from brs_detr.printable import cut, printable
from brs_detr.runtime.images import PIXEL_LIMIT_VARIABLE, TooLargeImage, UnreadableImage

Severity = Literal["error", "warning", "note"]

SEVERITIES: dict[Severity, str] = {
    "error": "training is refused",
    "warning": "training goes on, and its result may suffer",
    "note": "nothing to do, good to know",
}
"""What a severity means, the worst first."""

_NUM_KEPT = 50
_NUM_SHOWN = 3

_MOST_CHARACTERS = 500
"""Of what one finding says."""


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault, what the user can do, and how bad it is."""

    what: str
    cure: str
    severity: Severity = "error"

    @property
    def is_fatal(self) -> bool:
        """Whether training is refused because of it."""
        return self.severity == "error"


MALFORMED = FaultKind("malformed entry", "Export the annotations again, or complete these entries.")
TOO_MANY_CLASSES = FaultKind(
    "more classes than a data set can have",
    f"At most {MAX_CLASSES:,} are read. Leave out those that no box has, or put several of them together.",
)
CROWDED_IMAGE = FaultKind(
    "image with more boxes than can be", f"At most {MAX_BOXES:,} are read. Cut the image into tiles."
)
ODD_VALUE = FaultKind(
    "value that a file in JSON cannot hold",
    "Not used; in a copy there is null instead. Write a number, null or a text in UTF-8.",
    "warning",
)
ODD_SEGMENTATION = FaultKind(
    "outline that cannot be used",
    "Left out, as masks are not made of it; its box is used. Write polygons of 3 corners or more near the image, or "
    "run lengths that cover it.",
    "warning",
)
DUPLICATE_ID = FaultKind("duplicate id", "Give every image, annotation and category an id of its own.")
DUPLICATE_NAME = FaultKind("duplicate class name", "Give every category a name of its own.")
UNKNOWN_IMAGE = FaultKind("annotation of an unknown image", "Add the image to the list, or delete the annotation.")
UNKNOWN_CATEGORY = FaultKind("category id without a category", "Add the category to the list, or mend the id.")
NOT_FINITE_BOX = FaultKind("box with a NaN or infinite coordinate", "Mend or delete these boxes.")
OUTSIDE_BOX = FaultKind("box outside of the image", "Mend these boxes; [x, y, width, height] are pixels of the image.")
ZERO_AREA_BOX = FaultKind("zero-area box", "Dropped; delete it from the file to be rid of this line.", "warning")
NO_BOX = FaultKind("annotation file without any usable box", "Annotate at least one object.")
FRACTION_BOXES = FaultKind(
    "box in fractions of the image instead of pixels",
    "Write pixels: x and width times the width of the image, y and height times its height; where fractions were "
    "rounded, export again. YOLO rows are fractions: these were divided by the size twice.",
)
NEGATIVE_BOXES = FaultKind(
    "box with a negative width or height",
    "Write [x, y, width, height] from the upper left corner; add a negative width to x and take away its sign.",
)
EMPTY_BOXES = FaultKind(
    "annotation file without any usable box, since none has an area",
    "Export the annotations again: width or height of every box is 0.",
)
CROWD_BOXES = FaultKind(
    "annotation file without any usable box, since all are crowds or difficult objects",
    "Nothing is learnt of those, or measured with them. Set iscrowd (COCO) or difficult (Pascal VOC) to 0 where a box "
    "is one object.",
)
UNTRAINED_BOXES = FaultKind(
    "box narrower than 1 pixel, as nearly all are",
    "Such boxes are not trained on. Export the annotations again, in pixels of these images.",
)
OTHER_READING = FaultKind(
    "boxes that seem to be written in another way",
    "Write them as the format asks: COCO has x, y of the upper left corner, width, height in pixels, and YOLO x, y of "
    "the middle, width, height in fractions.",
)
SHIFTED_IDS = FaultKind(
    "category ids that are all off by one", "Mend the ids in the annotations or in the list: each means a class now."
)
SHIFTED_IMAGE_IDS = FaultKind(
    "image ids that seem to be all off by one",
    "Mend image_id in the annotations, or the ids in the list: each box is on the picture of another one now.",
)
DUPLICATE_FILE = FaultKind(
    "image file that is listed twice",
    "List every file once, with all of its boxes: each entry is trained on by itself.",
    "warning",
)
MISSING_IMAGE = FaultKind("missing image file", "Put the file there, or take the image out of the list.")
MISNAMED_IMAGE = FaultKind(
    "missing image file, though there is one of a similar name",
    "Write the name of the right file into the annotations, with the folders that lead to it.",
)
UNREADABLE_IMAGE = FaultKind("unreadable image", "Replace the file, or take the image out of the list.")
LARGE_IMAGE = FaultKind(
    "image that is too large",
    f"Cut it into smaller pictures, or raise the limit: set the variable {PIXEL_LIMIT_VARIABLE} to a larger number.",
)
WRONG_SIZE = FaultKind("image of another size than stated", "Use the images that were annotated, unscaled.")
SWAPPED_SIZE = FaultKind(
    "image whose stated width is its height",
    "Exchange width and height in the annotations; or turn the picture, where its boxes were drawn on it lying.",
)
SIDEWAYS_SIZE = FaultKind(
    "image annotated without the rotation that its EXIF data ask for",
    "Take the EXIF orientation out of the file, or annotate the picture as it is shown upright.",
)


def kind_of(error: UnreadableImage) -> FaultKind:
    """Why an image cannot be read."""
    return LARGE_IMAGE if isinstance(error, TooLargeImage) else UNREADABLE_IMAGE


@dataclass(frozen=True)
class Example:
    """One fault.

    Args:
        text: says where it is: file or id.
        image_id: of the image it is about.
        file_name: of that image, as the data set writes it.
        annotation_id: of the annotation it is about.
        files: image files to look at.
    """

    text: str
    image_id: int | None = None
    file_name: str | None = None
    annotation_id: int | None = None
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", cut(printable(self.text), _MOST_CHARACTERS))  # it may quote anything


@dataclass(frozen=True)
class Finding:
    """All faults of one kind.

    Args:
        kind: the kind of fault.
        count: how many there are.
        shown: the first ones.
        total: how many images, boxes or classes there are of which these are faulty, where that tells more.
    """

    kind: FaultKind
    count: int
    shown: tuple[Example, ...]
    total: int | None = None

    @classmethod
    def of(cls, kind: FaultKind, faults: Sequence[str | Example], total: int | None = None) -> Finding:
        """Count faults and keep the first ones as examples."""
        kept = (fault if isinstance(fault, Example) else Example(fault) for fault in faults[:_NUM_KEPT])
        return cls(kind, len(faults), tuple(kept), total)

    def joined(self, other: Finding) -> Finding:
        """This finding and another one of the same kind as one."""
        total = None if self.total is None or other.total is None else self.total + other.total
        shown = (*self.shown, *other.shown)[:_NUM_KEPT]
        return replace(self, count=self.count + other.count, shown=shown, total=total)

    @property
    def amount(self) -> str:
        """The count, and of how many."""
        return str(self.count) if self.total is None else f"{self.count} of {self.total}"

    @property
    def examples(self) -> tuple[str, ...]:
        """What the first few say."""
        return tuple(example.text for example in self.shown[:_NUM_SHOWN])

    def __str__(self) -> str:
        more = f"; and {self.count - len(self.examples)} more" if self.count > len(self.examples) else ""
        return f"{self.kind.what}: {self.amount} ({'; '.join(self.examples)}{more})"


@dataclass(frozen=True)
class Findings:
    """Everything found in one annotation file and its images.

    Args:
        file: the annotation file.
        found: one entry per kind of fault that occurs.
    """

    file: Path
    found: tuple[Finding, ...] = ()

    @property
    def fatal(self) -> tuple[Finding, ...]:
        """Findings that make training impossible or meaningless."""
        return tuple(finding for finding in self.found if finding.kind.is_fatal)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that are dealt with, and that the user should know of."""
        return tuple(finding for finding in self.found if finding.kind.severity == "warning")

    @property
    def are_of_entries(self) -> bool:
        """Whether entries are malformed or too many, so that nothing else was looked at."""
        return bool(self.count(MALFORMED) or self.count(TOO_MANY_CLASSES))

    def count(self, kind: FaultKind) -> int:
        """Number of faults of one kind."""
        return sum(finding.count for finding in self.found if finding.kind == kind)

    def refuse_fatal(self) -> None:
        """Raise one UserError that names every fatal finding; return when there is none."""
        if self.fatal:
            lines = [f"\n  - {finding}\n      {finding.kind.cure}" for finding in self.fatal]
            raise UserError(f"{self.file} cannot be used:{''.join(lines)}")
