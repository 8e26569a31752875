"""What is wrong with a data set, counted, with examples and a cure for each kind of fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brs_detr.errors import UserError

_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault, whether training is refused because of it, and what the user can do."""

    what: str
    cure: str
    is_fatal: bool = True


MALFORMED = FaultKind("malformed entry", "Export the annotations again, or complete these entries.")
DUPLICATE_ID = FaultKind("duplicate id", "Give every image, annotation and category an id of its own.")
DUPLICATE_NAME = FaultKind("duplicate class name", "Give every category a name of its own.")
UNKNOWN_IMAGE = FaultKind("annotation of an unknown image", "Add the image to the list, or delete the annotation.")
UNKNOWN_CATEGORY = FaultKind("category id without a category", "Add the category to the list, or mend the id.")
NOT_FINITE_BOX = FaultKind("box with a NaN or infinite coordinate", "Mend or delete these boxes.")
OUTSIDE_BOX = FaultKind("box outside of the image", "Mend these boxes; [x, y, width, height] are pixels of the image.")
ZERO_AREA_BOX = FaultKind("zero-area box", "Dropped; delete it from the file to be rid of this line.", is_fatal=False)
NO_BOX = FaultKind("annotation file without any usable box", "Annotate at least one object.")
MISSING_IMAGE = FaultKind("missing image file", "Put the file there, or take the image out of the list.")
UNREADABLE_IMAGE = FaultKind("unreadable image", "Replace the file, or take the image out of the list.")
WRONG_SIZE = FaultKind("image of another size than stated", "Use the images that were annotated, unscaled.")


@dataclass(frozen=True)
class Finding:
    """All faults of one kind.

    Args:
        kind: the kind of fault.
        count: how many there are.
        examples: the first few, with file or id.
    """

    kind: FaultKind
    count: int
    examples: tuple[str, ...]

    @classmethod
    def of(cls, kind: FaultKind, faults: Sequence[str]) -> Finding:
        """Count faults and keep the first ones as examples."""
        return cls(kind, len(faults), tuple(faults[:_NUM_EXAMPLES]))

    def __str__(self) -> str:
        more = f"; and {self.count - len(self.examples)} more" if self.count > len(self.examples) else ""
        return f"{self.kind.what}: {self.count} ({'; '.join(self.examples)}{more})"


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
        return tuple(finding for finding in self.found if not finding.kind.is_fatal)

    def count(self, kind: FaultKind) -> int:
        """Number of faults of one kind."""
        return sum(finding.count for finding in self.found if finding.kind == kind)

    def refuse_fatal(self) -> None:
        """Raise one UserError that names every fatal finding; return when there is none."""
        if self.fatal:
            lines = [f"\n  - {finding}\n      {finding.kind.cure}" for finding in self.fatal]
            raise UserError(f"{self.file} cannot be used:{''.join(lines)}")
